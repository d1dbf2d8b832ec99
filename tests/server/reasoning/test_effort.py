"""The budgets of reasoning efforts."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from anytime_server.reasoning import Effort, EffortLevel, effort_budget
from anytime_server.reasoning.effort import LEVELS, SHARES
from hypothesis import given
from hypothesis import strategies as st

LARGE = 131_072


def budget(effort: Effort, *, total: int | None = None, window: int = LARGE, **levels: int) -> int:
    return effort_budget(effort, levels=levels, total_tokens=total, window_tokens=window)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("effort", "tokens"),
    [
        ("none", 0),
        ("minimal", 512),
        ("low", 1024),
        ("medium", 8192),
        ("high", 24_576),
        ("xhigh", 49_152),
        ("max", LARGE),
    ],
)
def test_in_a_large_window_an_effort_is_a_number_of_tokens(effort: Effort, tokens: int) -> None:
    assert budget(effort) == tokens


@pytest.mark.parametrize(
    ("effort", "tokens"),
    [("minimal", 100), ("low", 200), ("medium", 500), ("high", 800), ("xhigh", 950), ("max", 1000)],
)
@pytest.mark.parametrize("fields", [{"total": 1000}, {"window": 1000}, {"total": 5000, "window": 1000}])
def test_an_effort_is_no_more_than_a_share(effort: Effort, tokens: int, fields: dict[str, Any]) -> None:
    assert budget(effort, **fields) == tokens


def test_own_levels_override_the_defaults() -> None:
    assert budget("low", low=3000) == 3000
    assert budget("max", max=9) == 9
    assert budget("medium", low=3000) == 8192
    assert budget("low", total=1000, low=3000) == 200  # a share of the client's limit in any case
    assert budget("low", window=1000, low=900) == 900  # but of the window only by default
    assert budget("low", window=1000, low=3000) == 1000


@given(
    st.sampled_from(get_args(EffortLevel)),
    st.none() | st.integers(1, 1 << 20),
    st.integers(1, 1 << 20),
)
def test_efforts_ascend_and_stay_within_their_share(effort: Any, total: int | None, window: int) -> None:
    levels = get_args(EffortLevel)
    found = [budget(level, total=total, window=window) for level in levels]
    assert found == sorted(found)
    available = window if total is None else min(total, window)
    tokens = found[levels.index(effort)]
    assert tokens <= SHARES[effort] * available
    assert tokens <= LEVELS.get(effort, available)
