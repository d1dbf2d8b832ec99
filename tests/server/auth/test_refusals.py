"""Refused keys: the limit for each address, and the audit log."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from anytime_server.auth import Refusals
from anytime_server.auth.refusals import LINES_PER_MINUTE, MAX_ADDRESSES, WRONG_KEYS_PER_MINUTE
from anytime_server.errors import Forbidden, RateLimited, Unauthorized


@pytest.fixture
def now() -> list[int]:
    return [0]


@pytest.fixture
def refusals(now: list[int]) -> Refusals:
    return Refusals(clock_ns=lambda: now[0])


def num_unthrottled(refusals: Refusals, address: str, number: int) -> int:
    """Of `number` unknown keys from an address, those that are answered with 401."""
    errors = [refusals.count(Unauthorized("unknown"), address=address) for _ in range(number)]
    return sum(isinstance(error, Unauthorized) for error in errors)


def test_unknown_keys_of_an_address_are_limited(refusals: Refusals, now: list[int]) -> None:
    assert num_unthrottled(refusals, "10.0.0.1", 1000) == WRONG_KEYS_PER_MINUTE
    throttled = refusals.count(Unauthorized("unknown"), address="10.0.0.1")
    assert isinstance(throttled, RateLimited)
    assert throttled.retry_after_s == 60 / WRONG_KEYS_PER_MINUTE
    assert num_unthrottled(refusals, "10.0.0.2", 1) == 1
    now[0] = 10 * 10**9
    assert num_unthrottled(refusals, "10.0.0.1", 1000) == WRONG_KEYS_PER_MINUTE // 6


def test_addresses_of_one_ipv6_network_count_together(refusals: Refusals) -> None:
    many = [f"2001:db8::{number:x}" for number in range(200)]
    assert sum(num_unthrottled(refusals, address, 1) for address in many) == WRONG_KEYS_PER_MINUTE
    assert num_unthrottled(refusals, "2001:db8:0:1::1", 1) == 1
    assert num_unthrottled(refusals, "no address", 1) == 1


def test_ipv4_addresses_on_an_ipv6_socket_count_apart(refusals: Refusals) -> None:
    assert num_unthrottled(refusals, "::ffff:10.0.0.1", 1000) == WRONG_KEYS_PER_MINUTE
    assert num_unthrottled(refusals, "::ffff:10.0.0.2", 1) == 1


def test_disabled_keys_are_not_throttled(refusals: Refusals) -> None:
    error = Forbidden("disabled")
    assert all(refusals.count(error, address="10.0.0.1") is error for _ in range(1000))


def test_quietest_address_is_forgotten_first(refusals: Refusals) -> None:
    num_unthrottled(refusals, "quiet", WRONG_KEYS_PER_MINUTE)
    num_unthrottled(refusals, "busy", WRONG_KEYS_PER_MINUTE)
    for number in range(MAX_ADDRESSES - 1):
        num_unthrottled(refusals, f"10.0.{number // 256}.{number % 256}", 1)
        assert num_unthrottled(refusals, "busy", 1) == 0
    assert num_unthrottled(refusals, "quiet", 1) == 1


def test_the_audit_log_has_a_limited_number_of_lines(
    refusals: Refusals, now: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "anytime.audit")
    for number in range(100):
        num_unthrottled(refusals, f"10.0.0.{number}", 10)
    assert len(caplog.records) == LINES_PER_MINUTE
    now[0] = 1_000_000_000
    refusals.count(Forbidden("the API key 'bob' is disabled"), address="10.0.0.9")
    line: dict[str, Any] = vars(caplog.records[-1])
    assert (line["message"], line["client"], line["left_out"]) == ("API key refused", "10.0.0.9", 940)
    assert line["reason"] == "the API key 'bob' is disabled"
