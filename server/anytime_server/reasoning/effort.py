"""Reasoning efforts as budgets: one table of levels, for every dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

EffortLevel = Literal["minimal", "low", "medium", "high", "xhigh", "max"]
"""Efforts that think."""
Effort = Literal["none", EffortLevel]

LEVELS: dict[EffortLevel, int] = {
    "minimal": 512,
    "low": 1024,
    "medium": 8192,
    "high": 24_576,
    "xhigh": 49_152,
}
"""Thinking tokens of an effort: Google's for Gemini, whose `low`, `medium` and `high` these are, halved for
`minimal` and doubled for `xhigh`. `max` has no number."""
SHARES: dict[EffortLevel, float] = {
    "minimal": 0.1,
    "low": 0.2,
    "medium": 0.5,
    "high": 0.8,
    "xhigh": 0.95,
    "max": 1.0,
}
"""The largest share of the available tokens that an effort thinks for: OpenRouter's, and two of our own."""


def effort_budget(
    effort: Effort, *, levels: Mapping[EffortLevel, int], total_tokens: int | None, window_tokens: int
) -> int:
    """The budget of an effort, in tokens.

    It is a level, or a share of `total_tokens` if that is less. The window's share applies to the default
    levels only, where there are no `total_tokens`.

    Args:
        levels: those of the operator or the model, which override `LEVELS`.
        total_tokens: the most tokens of thinking and answer together; None for no such limit.
    """
    if effort == "none":
        return 0
    bounds = [window_tokens]
    if total_tokens is not None:
        bounds.append(int(SHARES[effort] * min(total_tokens, window_tokens)))
    if effort in levels:
        bounds.append(levels[effort])
    else:
        bounds.append(LEVELS.get(effort, window_tokens))
        if total_tokens is None:
            bounds.append(int(SHARES[effort] * window_tokens))
    return min(bounds)
