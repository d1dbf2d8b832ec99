"""Limits and usage of one API key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from anytime_server.auth import Account, Limits
from anytime_server.errors import InvalidRequest, RateLimited


@pytest.fixture
def now() -> list[int]:
    return [0]


@pytest.fixture
def account(now: list[int]) -> Callable[..., Account]:
    """Makes accounts with the clock `now`."""
    return lambda **limits: Account("alice", Limits(**limits), clock_ns=lambda: now[0])


def test_without_limits_every_session_is_admitted(account: Any) -> None:
    alice = account()
    for admission in [alice.admit(10**9) for _ in range(1000)]:
        admission.extend(10**9)
        admission.end(7)
    assert alice.num_under_way == 0


def test_limit_of_concurrent_requests(account: Any) -> None:
    alice = account(concurrency=2)
    first = alice.admit(8)
    alice.admit(8)
    with pytest.raises(RateLimited, match="2 requests at a time") as refused:
        alice.admit(8)
    assert (refused.value.retry_after_s, refused.value.field, refused.value.code) == (1, None, "rate_limited")
    first.end(8)
    alice.admit(8)


def test_limit_of_requests_per_minute(account: Any, now: list[int]) -> None:
    alice = account(requests_per_minute=4)  # one every 15 s
    for _ in range(4):
        alice.admit(8).end(8)
    now[0] = 5_000_000_000
    with pytest.raises(RateLimited, match="4 requests per minute") as refused:
        alice.admit(8)
    assert refused.value.retry_after_s == 10
    now[0] = 15_000_000_000
    alice.admit(8)


def test_limit_of_thinking_tokens_per_minute(account: Any, now: list[int]) -> None:
    alice = account(thinking_tokens_per_minute=120)  # two a second
    alice.admit(100)
    with pytest.raises(
        RateLimited, match="120 thinking tokens per minute; 20 remain, and the request needs 50"
    ) as refused:
        alice.admit(50)
    assert (refused.value.retry_after_s, refused.value.field) == (15, "budget")
    now[0] = 15_000_000_000
    alice.admit(50)


def test_a_budget_is_reserved_and_its_unused_tokens_are_refunded(account: Any) -> None:
    alice = account(thinking_tokens_per_minute=120)
    admission = alice.admit(100)
    assert alice.thinking_tokens.remaining == 20
    admission.extend(15)
    assert alice.thinking_tokens.remaining == 5
    with pytest.raises(RateLimited) as refused:
        admission.extend(6)
    assert (refused.value.retry_after_s, refused.value.field) == (0.5, "tokens")
    admission.end(40)
    assert alice.thinking_tokens.remaining == 80


def test_a_budget_over_a_minutes_limit_is_invalid(account: Any) -> None:
    alice = account(thinking_tokens_per_minute=120, concurrency=1)
    admission = alice.admit(0)
    with pytest.raises(InvalidRequest, match=r"a budget of 121 .* the most is 120") as refused:
        alice.admit(121)
    assert refused.value.field == "budget"
    with pytest.raises(InvalidRequest, match="the most is 120"):
        admission.extend(121)


def test_a_refused_session_counts_nowhere(account: Any) -> None:
    alice = account(concurrency=5, requests_per_minute=3, thinking_tokens_per_minute=120)
    alice.admit(100)
    for tokens in (50, 121):
        with pytest.raises((RateLimited, InvalidRequest)):
            alice.admit(tokens)
    assert (alice.num_under_way, alice.requests.remaining, alice.thinking_tokens.remaining) == (1, 2, 20)
    alice.admit(0)
    alice.admit(0)
    with pytest.raises(RateLimited, match="requests per minute"):
        alice.admit(20)
    assert (alice.num_under_way, alice.thinking_tokens.remaining) == (3, 20)


def test_new_limits_keep_the_usage(account: Any) -> None:
    alice = account(concurrency=2, requests_per_minute=60)
    admissions = [alice.admit(8), alice.admit(8)]
    alice.set_limits(Limits(concurrency=3, requests_per_minute=120, thinking_tokens_per_minute=50))
    assert (alice.num_under_way, alice.requests.remaining, alice.thinking_tokens.remaining) == (2, 58, 50)
    alice.admit(50)
    with pytest.raises(RateLimited, match="at a time"):
        alice.admit(0)
    admissions[0].end(8)
    alice.set_limits(Limits())
    alice.admit(10**9)
