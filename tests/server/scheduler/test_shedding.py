"""Thinking limits under load, against hand-computed values."""

from __future__ import annotations

import pytest
from anytime_server.errors import UnusableOption
from anytime_server.reasoning import AccuracyPoint
from anytime_server.scheduler.shedding import GAIN, LoadShedder, upper_hull


def curve(*points: tuple[int, float]) -> list[AccuracyPoint]:
    return [AccuracyPoint(budget=b, accuracy=a, low=0, high=1, n=10) for b, a in points]


@pytest.mark.parametrize(
    ("points", "hull"),
    [
        ([(8, 0.3), (16, 0.6), (32, 0.9)], [(8, 0.3), (16, 0.6), (32, 0.9)]),
        # On the straight line from 8 to 32 accuracy at 16 would be 0.4.
        ([(8, 0.3), (16, 0.35), (32, 0.6)], [(8, 0.3), (32, 0.6)]),
        ([(8, 0.3), (16, 0.4), (32, 0.6)], [(8, 0.3), (32, 0.6)]),
        ([(8, 0.3), (16, 0.41), (32, 0.6)], [(8, 0.3), (16, 0.41), (32, 0.6)]),
        # Budgets above 16 are no more accurate.
        ([(8, 0.3), (16, 0.6), (32, 0.6), (64, 0.5)], [(8, 0.3), (16, 0.6)]),
        ([(32, 0.9), (8, 0.3)], [(8, 0.3), (32, 0.9)]),
        ([], []),
    ],
)
def test_hull_keeps_points_that_no_mixture_beats(
    points: list[tuple[int, float]], hull: list[tuple[int, float]]
) -> None:
    assert upper_hull(points) == hull


def shedder() -> LoadShedder:
    points = curve((10, 0.3), (50, 0.8), (90, 0.9))
    return LoadShedder(points)


def test_thinking_is_unlimited_while_no_session_waits() -> None:
    assert shedder().thinking_limit(0.0, num_wanted=0, num_slots=10) is None


def test_mean_limit_falls_with_the_number_of_waiters() -> None:
    means = []
    for num_wanted in (1, 2, 5, 10, 1000):
        draws = [number / 1000 for number in range(1000)]
        found = [shedder().thinking_limit(draw, num_wanted=num_wanted, num_slots=10) or 0 for draw in draws]
        assert set(found) <= {10, 50, 90}
        means.append(sum(found) / 1000)
        wanted = max(10.0, 90 / (1 + GAIN * num_wanted / 10))
        assert means[-1] == pytest.approx(wanted, abs=0.1)
    assert means == sorted(means, reverse=True)


def test_low_draw_gets_the_higher_of_two_budgets() -> None:
    found = [shedder().thinking_limit(draw / 10, num_wanted=1, num_slots=10) or 0 for draw in range(10)]
    # 90 / 1.8 = 50 on average: every draw gets that point of the curve.
    assert found == [50] * 10
    found = [shedder().thinking_limit(draw / 10, num_wanted=2, num_slots=10) or 0 for draw in range(10)]
    # 90 / 2.6 = 34.6 = 10 + 0.615 x 40.
    assert found == [50] * 7 + [10] * 3


@pytest.mark.parametrize("points", [[], [(8, 0.5)], [(8, 0.5), (16, 0.4)]])
def test_curve_with_fewer_than_two_useful_points_is_refused(points: list[tuple[int, float]]) -> None:
    with pytest.raises(UnusableOption, match="--shed"):
        LoadShedder(curve(*points))


@pytest.mark.parametrize(
    ("points", "hull"),
    [
        # A dip does not end the hull.
        ([(8, 0.3), (16, 0.2), (32, 0.9)], [(8, 0.3), (32, 0.9)]),
        ([(8, 0.125), (16, 0.5), (32, 0.75), (64, 0.875)],) * 2,
        # From 8 to 64 in one line: 16 and 32 lie below it.
        ([(8, 0.0), (16, 0.01), (32, 0.02), (64, 1.0)], [(8, 0.0), (64, 1.0)]),
    ],
)
def test_hull_of_many_points(points: list[tuple[int, float]], hull: list[tuple[int, float]]) -> None:
    assert upper_hull(points) == hull
