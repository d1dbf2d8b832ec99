"""Intervals for shares, and for differences between what two models got right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Z_95 = 1.959963984540054


def wilson_interval(num_right: int, num_tried: int) -> tuple[float, float]:
    """95% score interval of a share (Wilson 1927, equation 4), within [0, 1]."""
    share, z2 = num_right / num_tried, Z_95**2
    centre = (share + z2 / (2 * num_tried)) / (1 + z2 / num_tried)
    half = Z_95 * math.sqrt(share * (1 - share) / num_tried + z2 / (4 * num_tried**2)) / (1 + z2 / num_tried)
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_bootstrap(
    differences_N: Sequence[float] | np.ndarray, *, seed: int, samples: int = 10_000
) -> tuple[float, float, float]:
    """Mean of paired differences, with its 95% percentile bootstrap interval (Efron 1979).

    Args:
        differences_N: one for each problem that both were asked.
        seed: of the samples that are drawn.
        samples: how many.

    Returns:
        The mean, and the lower and upper end of its interval.
    """
    import numpy as np

    differences_N = np.asarray(differences_N, dtype=float)
    # How often each problem is drawn says all about a sample, and takes no N x samples of memory.
    rng = np.random.default_rng(seed)
    num_problems = len(differences_N)
    shares = np.full(num_problems, 1 / num_problems)
    means = [float(rng.multinomial(num_problems, shares) @ differences_N) for _ in range(samples)]
    low, high = np.quantile(means, [0.025, 0.975]) / num_problems
    return float(differences_N.mean()), float(low), float(high)
