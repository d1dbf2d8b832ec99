"""A limit for each minute: by hand, and for any use that there may be."""

from __future__ import annotations

from dataclasses import dataclass

from anytime_server.auth.bucket import MINUTE_NS, Bucket
from hypothesis import given
from hypothesis import strategies as st


@dataclass
class Clock:
    now_ns: int = 0

    def __call__(self) -> int:
        return self.now_ns

    def forward(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


def test_it_is_full_at_first_and_refilled_without_a_break() -> None:
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
    assert (bucket.remaining, bucket.full_in_s) == (30, 0)  # and no more


def test_what_is_given_back_can_be_taken_again_but_not_hoarded() -> None:
    clock = Clock()
    bucket = Bucket(60, clock_ns=clock)
    bucket.take(50)
    bucket.give_back(20)
    assert bucket.remaining == 30
    clock.forward(25)
    bucket.give_back(20)
    assert bucket.remaining == 60


def test_another_limit_keeps_what_was_used() -> None:
    clock = Clock()
    bucket = Bucket(60, clock_ns=clock)
    bucket.take(50)
    bucket.change(120)
    assert (bucket.remaining, bucket.wait_s(12)) == (10, 1)
    bucket.change(5)
    assert (bucket.remaining, bucket.full_in_s) == (5, 0)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 40 * 10**9),  # ns that pass
        st.integers(0, 12),  # wanted
        st.integers(0, 12),  # given back later, at the most what was taken
    ),
    max_size=60,
)


@given(limit=st.integers(1, 10), steps=STEPS)
def test_in_no_span_is_more_taken_than_is_promised(limit: int, steps: list[tuple[int, int, int]]) -> None:
    """What is taken, less what is given back, in t seconds: at most limit x (1 + t / 60), exactly."""
    clock = Clock()
    bucket = Bucket(limit, clock_ns=clock)
    moves: list[tuple[int, int]] = []
    for passed_ns, wanted, returned in steps:
        clock.now_ns += passed_ns
        if wanted > limit or bucket.wait_s(wanted):
            continue
        bucket.take(wanted)
        moves.append((clock.now_ns, wanted))
        if returned <= wanted:
            clock.now_ns += passed_ns // 2
            bucket.give_back(returned)
            moves.append((clock.now_ns, -returned))
    for first in range(len(moves)):
        net = 0
        for at_ns, amount in moves[first:]:
            net += amount
            assert net * MINUTE_NS <= limit * (MINUTE_NS + at_ns - moves[first][0])


@given(limit=st.integers(1, 10**6), share=st.floats(0, 1), passed_ns=st.integers(0, MINUTE_NS))
def test_it_suffices_when_it_was_said_to_and_not_before(limit: int, share: float, passed_ns: int) -> None:
    clock = Clock()
    bucket = Bucket(limit, clock_ns=clock)
    bucket.take(limit)
    clock.now_ns += passed_ns
    amount = max(1, round(share * limit))
    if wait_ns := round(bucket.wait_s(amount) * 1e9):
        clock.now_ns += wait_ns - 1
        assert bucket.wait_s(amount) > 0
        clock.now_ns += 1
    assert bucket.wait_s(amount) == 0
    bucket.take(amount)
