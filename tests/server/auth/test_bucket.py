"""The token bucket: by hand, and for random use."""

from __future__ import annotations

from dataclasses import dataclass

from anytime_server.auth.bucket import Bucket
from hypothesis import given
from hypothesis import strategies as st

MINUTE_NS = 60 * 10**9


@dataclass
class Clock:
    now_ns: int = 0

    def __call__(self) -> int:
        return self.now_ns

    def forward(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


def test_a_bucket_starts_full_and_is_refilled_continuously() -> None:
    clock = Clock()
    bucket = Bucket(30, clock_ns=clock)  # one every 2 s
    assert (bucket.remaining, bucket.full_in_s, bucket.wait_s(30)) == (30, 0, 0)
    bucket.take(30)
    assert (bucket.remaining, bucket.full_in_s, bucket.wait_s(1), bucket.wait_s(30)) == (0, 60, 2, 60)
    clock.forward(1.5)
    assert (bucket.remaining, bucket.wait_s(1), bucket.wait_s(3)) == (0, 0.5, 4.5)
    clock.forward(0.5)
    assert (bucket.remaining, bucket.wait_s(1), bucket.wait_s(2)) == (1, 0, 2)
    clock.forward(1000)
    assert (bucket.remaining, bucket.full_in_s) == (30, 0)


def test_refunds_are_limited_by_the_capacity() -> None:
    clock = Clock()
    bucket = Bucket(60, clock_ns=clock)
    bucket.take(50)
    bucket.refund(20)
    assert bucket.remaining == 30
    clock.forward(25)
    bucket.refund(20)
    assert bucket.remaining == 60


def test_another_limit_keeps_the_usage() -> None:
    clock = Clock()
    bucket = Bucket(60, clock_ns=clock)
    bucket.take(50)
    bucket.set_limit(120)
    assert (bucket.remaining, bucket.wait_s(12)) == (10, 1)
    bucket.set_limit(5)
    assert (bucket.remaining, bucket.full_in_s) == (5, 0)


def test_a_daily_limit_is_refilled_over_the_day() -> None:
    clock = Clock()
    bucket = Bucket(86_400, period_s=86_400, clock_ns=clock)  # one a second
    bucket.take(86_400)
    assert (bucket.remaining, bucket.full_in_s, bucket.wait_s(3600)) == (0, 86_400, 3600)
    clock.forward(3600)
    assert (bucket.remaining, bucket.wait_s(3600)) == (3600, 0)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 40 * 10**9),  # elapsed ns
        st.integers(0, 12),  # requested
        st.integers(0, 12),  # refunded later, at most the amount taken
    ),
    max_size=60,
)


@given(limit=st.integers(1, 10), period_s=st.sampled_from([60, 86_400]), steps=STEPS)
def test_no_span_takes_more_than_the_limit(
    limit: int, period_s: int, steps: list[tuple[int, int, int]]
) -> None:
    """In t seconds, at most limit x (1 + t / period) tokens are taken net of refunds, exactly."""
    clock, period_ns = Clock(), period_s * 10**9
    bucket = Bucket(limit, period_s=period_s, clock_ns=clock)
    moves: list[tuple[int, int]] = []
    for elapsed_ns, requested, refunded in steps:
        clock.now_ns += elapsed_ns
        if requested > limit or bucket.wait_s(requested):
            continue
        bucket.take(requested)
        moves.append((clock.now_ns, requested))
        if refunded <= requested:
            clock.now_ns += elapsed_ns // 2
            bucket.refund(refunded)
            moves.append((clock.now_ns, -refunded))
    for first in range(len(moves)):
        net = 0
        for at_ns, amount in moves[first:]:
            net += amount
            assert net * period_ns <= limit * (period_ns + at_ns - moves[first][0])


@given(limit=st.integers(1, 10**6), share=st.floats(0, 1), elapsed_ns=st.integers(0, MINUTE_NS))
def test_the_announced_wait_is_exact(limit: int, share: float, elapsed_ns: int) -> None:
    clock = Clock()
    bucket = Bucket(limit, clock_ns=clock)
    bucket.take(limit)
    clock.now_ns += elapsed_ns
    amount = max(1, round(share * limit))
    if wait_ns := round(bucket.wait_s(amount) * 1e9):
        clock.now_ns += wait_ns - 1
        assert bucket.wait_s(amount) > 0
        clock.now_ns += 1
    assert bucket.wait_s(amount) == 0
    bucket.take(amount)
