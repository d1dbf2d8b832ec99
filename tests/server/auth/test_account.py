"""What one key may use."""

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
    """Makes accounts of which `now` is the clock."""
    return lambda **limits: Account("alice", Limits(**limits), clock_ns=lambda: now[0])


def test_without_limits_all_is_admitted(account: Any) -> None:
    one = account()
    for admission in [one.admit(10**9) for _ in range(1000)]:
        admission.extend(10**9)
        admission.end(7)
    assert one.num_under_way == 0


def test_so_many_at_a_time(account: Any) -> None:
    one = account(concurrency=2)
    first = one.admit(8)
    one.admit(8)
    with pytest.raises(RateLimited, match="2 requests at a time") as refused:
        one.admit(8)
    assert (refused.value.retry_after_s, refused.value.field, refused.value.code) == (1, None, "rate_limited")
    first.end(8)
    one.admit(8)


def test_so_many_requests_in_a_minute(account: Any, now: list[int]) -> None:
    one = account(requests_per_minute=4)  # one every 15 s
    for _ in range(4):
        one.admit(8).end(8)
    now[0] = 5_000_000_000
    with pytest.raises(RateLimited, match="4 requests per minute") as refused:
        one.admit(8)
    assert refused.value.retry_after_s == 10
    now[0] = 15_000_000_000
    one.admit(8)


def test_so_many_tokens_in_a_minute(account: Any, now: list[int]) -> None:
    one = account(thinking_tokens_per_minute=120)  # two a second
    one.admit(100)
    with pytest.raises(
        RateLimited, match="120 thinking tokens per minute, of which 20 are left and 50 were"
    ) as no:
        one.admit(50)
    assert (no.value.retry_after_s, no.value.field) == (15, "budget")
    now[0] = 15_000_000_000
    one.admit(50)


def test_a_budget_counts_until_its_request_is_over_and_then_what_was_used(account: Any) -> None:
    one = account(thinking_tokens_per_minute=120)
    admission = one.admit(100)
    assert one.thinking_tokens.remaining == 20
    admission.extend(15)
    assert one.thinking_tokens.remaining == 5
    with pytest.raises(RateLimited) as refused:
        admission.extend(6)
    assert (refused.value.retry_after_s, refused.value.field) == (0.5, "tokens")
    admission.end(40)
    assert one.thinking_tokens.remaining == 80


def test_a_budget_that_no_minute_has_is_refused_for_good(account: Any) -> None:
    one = account(thinking_tokens_per_minute=120, concurrency=1)
    admission = one.admit(0)
    with pytest.raises(InvalidRequest, match=r"a budget of 121 .* the most is 120") as refused:
        one.admit(121)
    assert refused.value.field == "budget"
    with pytest.raises(InvalidRequest, match="the most is 120"):
        admission.extend(121)


def test_what_is_refused_counts_in_nothing(account: Any) -> None:
    one = account(concurrency=5, requests_per_minute=3, thinking_tokens_per_minute=120)
    one.admit(100)
    for tokens in (50, 121):
        with pytest.raises((RateLimited, InvalidRequest)):
            one.admit(tokens)
    assert (one.num_under_way, one.requests.remaining, one.thinking_tokens.remaining) == (1, 2, 20)
    one.admit(0)
    one.admit(0)
    with pytest.raises(RateLimited, match="requests per minute"):
        one.admit(20)
    assert (one.num_under_way, one.thinking_tokens.remaining) == (3, 20)


def test_other_limits_find_what_was_used(account: Any) -> None:
    one = account(concurrency=2, requests_per_minute=60)
    admissions = [one.admit(8), one.admit(8)]
    one.limit_to(Limits(concurrency=3, requests_per_minute=120, thinking_tokens_per_minute=50))
    assert (one.num_under_way, one.requests.remaining, one.thinking_tokens.remaining) == (2, 58, 50)
    one.admit(50)
    with pytest.raises(RateLimited, match="at a time"):
        one.admit(0)
    admissions[0].end(8)
    one.limit_to(Limits())
    one.admit(10**9)
