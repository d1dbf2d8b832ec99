"""Limits and usage of one API key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from anytime_server.auth import Account, Admission, Cost, Limits
from anytime_server.errors import InvalidRequest, RateLimited

MINUTE_NS, DAY_NS = 60 * 10**9, 86_400 * 10**9


@pytest.fixture
def now() -> list[int]:
    return [0]


@pytest.fixture
def account(now: list[int]) -> Callable[..., Account]:
    """Makes accounts with the clock `now`."""
    return lambda **limits: Account("alice", Limits(**limits), clock_ns=lambda: now[0])


def thinking(tokens: int, *, answers: int = 0, requests: int = 1) -> Cost:
    return Cost(requests=requests, thinking_tokens=tokens, tokens=tokens + answers)


def admit(account: Account, tokens: int, *, answers: int = 0) -> Admission:
    [admission] = account.admit(thinking(tokens, answers=answers))
    return admission


def remaining(account: Account, name: str) -> int:
    return next(bucket.remaining for quota, bucket in account.quotas.items() if quota.name == name)


def test_without_limits_every_session_is_admitted(account: Any) -> None:
    alice = account()
    for admission in [admit(alice, 10**9) for _ in range(1000)]:
        admission.extend(thinking(10**9, requests=0))
        admission.end(thinking(7))
    assert alice.num_under_way == 0


def test_tokens_beyond_the_reserved_are_charged_at_the_end(account: Any, now: list[int]) -> None:
    """They are paid back by the refill before another session is admitted."""
    alice = account(tokens_per_minute=60)
    admit(alice, 10, answers=10).end(thinking(10, answers=80))
    assert remaining(alice, "tokens_per_minute") == 0
    with pytest.raises(RateLimited) as refused:
        admit(alice, 1)
    assert refused.value.retry_after_s == 30
    assert "60 tokens per minute; more were used" in str(refused.value)
    now[0] += MINUTE_NS
    assert remaining(alice, "tokens_per_minute") == 30
    admit(alice, 30)


def test_limit_of_concurrent_requests(account: Any) -> None:
    alice = account(concurrency=2)
    first = admit(alice, 8)
    admit(alice, 8)
    with pytest.raises(RateLimited, match="2 requests at a time") as refused:
        admit(alice, 8)
    assert (refused.value.retry_after_s, refused.value.field, refused.value.code) == (1, None, "rate_limited")
    first.end(thinking(8))
    admit(alice, 8)


@pytest.mark.parametrize(("period", "seconds"), [("minute", 60), ("day", 86_400)])
def test_limit_of_requests(account: Any, now: list[int], period: str, seconds: int) -> None:
    alice = account(**{f"requests_per_{period}": 4})
    for _ in range(4):
        admit(alice, 8).end(thinking(8))
    now[0] = seconds * 10**9 // 12
    with pytest.raises(RateLimited, match=f"4 requests per {period}$") as refused:
        admit(alice, 8)
    assert refused.value.retry_after_s == seconds / 6
    now[0] = seconds * 10**9 // 4
    admit(alice, 8)


def test_limit_of_thinking_tokens_per_minute(account: Any, now: list[int]) -> None:
    alice = account(thinking_tokens_per_minute=120)  # two a second
    admit(alice, 100, answers=1000)
    with pytest.raises(
        RateLimited, match="120 thinking tokens per minute; 20 remain, and the request needs 50"
    ) as refused:
        admit(alice, 50)
    assert (refused.value.retry_after_s, refused.value.field) == (15, "budget")
    now[0] = 15_000_000_000
    admit(alice, 50)


@pytest.mark.parametrize(("period", "period_ns"), [("minute", MINUTE_NS), ("day", DAY_NS)])
def test_limit_of_all_sampled_tokens(account: Any, now: list[int], period: str, period_ns: int) -> None:
    alice = account(**{f"tokens_per_{period}": 120})
    admit(alice, 0, answers=100).end(thinking(0, answers=90))
    with pytest.raises(
        RateLimited, match=f"120 tokens per {period}; 30 remain, and the request needs 60"
    ) as refused:
        admit(alice, 10, answers=50)
    assert (refused.value.retry_after_s, refused.value.field) == (period_ns / 4e9, "budget")
    now[0] = period_ns // 4
    admit(alice, 10, answers=50)


def test_the_longest_wait_is_reported(account: Any) -> None:
    alice = account(requests_per_minute=1, requests_per_day=1)
    admit(alice, 0)
    with pytest.raises(RateLimited, match="1 requests per day") as refused:
        admit(alice, 0)
    assert refused.value.retry_after_s == 86_400


def test_the_most_is_reserved_and_unused_tokens_are_refunded(account: Any) -> None:
    alice = account(thinking_tokens_per_minute=120, tokens_per_minute=200, tokens_per_day=1000)
    admission = admit(alice, 100, answers=50)
    names = ("thinking_tokens_per_minute", "tokens_per_minute", "tokens_per_day")
    assert [remaining(alice, name) for name in names] == [20, 50, 850]
    admission.extend(thinking(15, requests=0))
    assert [remaining(alice, name) for name in names] == [5, 35, 835]
    with pytest.raises(RateLimited) as refused:
        admission.extend(thinking(6, requests=0))
    assert (refused.value.retry_after_s, refused.value.field) == (0.5, "tokens")
    admission.end(thinking(40, answers=20))
    assert [remaining(alice, name) for name in names] == [80, 140, 940]


def test_tokens_over_the_limit_of_a_period_are_invalid(account: Any) -> None:
    alice = account(thinking_tokens_per_minute=120, tokens_per_day=500, concurrency=1)
    admission = admit(alice, 0)
    with pytest.raises(InvalidRequest, match=r"a budget of 121 .* in a minute; the most is 120") as refused:
        admit(alice, 121)
    assert refused.value.field == "budget"
    with pytest.raises(InvalidRequest, match=r"may sample 501 tokens .* in a day; the most is 500"):
        admit(alice, 100, answers=401)
    with pytest.raises(InvalidRequest, match="the most is 120"):
        admission.extend(thinking(121, requests=0))


def test_a_refused_session_counts_nowhere(account: Any) -> None:
    alice = account(concurrency=5, requests_per_minute=3, thinking_tokens_per_minute=120)
    admit(alice, 100)
    for tokens in (50, 121):
        with pytest.raises((RateLimited, InvalidRequest)):
            admit(alice, tokens)
    names = ("requests_per_minute", "thinking_tokens_per_minute")
    assert (alice.num_under_way, *(remaining(alice, name) for name in names)) == (1, 2, 20)
    admit(alice, 0)
    admit(alice, 0)
    with pytest.raises(RateLimited, match="requests per minute"):
        admit(alice, 20)
    assert (alice.num_under_way, remaining(alice, "thinking_tokens_per_minute")) == (3, 20)


@pytest.mark.parametrize(
    "limits",
    [{"concurrency": 2}, {"requests_per_minute": 2}, {"tokens_per_minute": 29}, {"tokens_per_day": 29}],
)
def test_several_sessions_are_admitted_together_or_not_at_all(account: Any, limits: dict[str, int]) -> None:
    alice = account(**limits)
    with pytest.raises((RateLimited, InvalidRequest)):
        alice.admit(thinking(5, answers=5), num_sessions=3)
    assert (alice.num_under_way, alice.has_usage) == (0, False)
    admissions = alice.admit(thinking(5, answers=5), num_sessions=2)
    assert (len(admissions), alice.num_under_way) == (2, 2)


def test_new_limits_keep_the_usage(account: Any) -> None:
    alice = account(concurrency=2, requests_per_minute=60)
    admissions = [admit(alice, 8), admit(alice, 8)]
    alice.set_limits(Limits(concurrency=3, requests_per_minute=120, thinking_tokens_per_minute=50))
    names = ("requests_per_minute", "thinking_tokens_per_minute")
    assert (alice.num_under_way, *(remaining(alice, name) for name in names)) == (2, 58, 50)
    admit(alice, 50)
    with pytest.raises(RateLimited, match="at a time"):
        admit(alice, 0)
    admissions[0].end(thinking(8))
    assert remaining(alice, "thinking_tokens_per_minute") == 0, "its tokens were not taken from this limit"
    alice.set_limits(Limits())
    admit(alice, 10**9)
    alice.set_limits(Limits(thinking_tokens_per_minute=50))
    assert remaining(alice, "thinking_tokens_per_minute") == 0, "a removed limit comes back as it was"


def test_a_limit_that_is_added_gets_back_no_more_than_it_gave(account: Any) -> None:
    alice = account()
    admission = admit(alice, 8)
    alice.set_limits(Limits(thinking_tokens_per_minute=50))
    admission.extend(thinking(15, requests=0))
    admit(alice, 20)
    assert remaining(alice, "thinking_tokens_per_minute") == 15
    admission.end(thinking(5))
    assert remaining(alice, "thinking_tokens_per_minute") == 30
