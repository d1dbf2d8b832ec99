"""Comparisons on a machine whose speed varies: all variants run in every round, and only rounds compare."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Variant = TypeVar("Variant")
Result = TypeVar("Result")


async def interleaved(
    variants: Sequence[Variant], measure: Callable[[Variant, int], Awaitable[Result]], *, num_rounds: int
) -> dict[Variant, list[Result]]:
    """Measure all variants in each round; another variant is the first of every round.

    Args:
        measure: measures a variant in the round with the given number. Round 0 warms up and is not counted.

    Returns:
        For each variant a result per round, in the order of the rounds.
    """
    found: dict[Variant, list[Result]] = {variant: [] for variant in variants}
    for number in range(num_rounds + 1):
        first = number % len(variants)
        for variant in [*variants[first:], *variants[:first]]:
            result = await measure(variant, number)
            if number:
                found[variant].append(result)
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest value."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def ratios(values: Sequence[float], reference: Sequence[float]) -> dict[str, float]:
    """Spread of the ratios within a round."""
    return spread([value / other for value, other in zip(values, reference, strict=True)])
