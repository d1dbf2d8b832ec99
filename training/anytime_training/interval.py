"""Intervals for shares, and for differences between what two models got right."""

from __future__ import annotations

import math
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
    a_SN: np.ndarray, b_SN: np.ndarray, *, seed: int, samples: int = 10_000
) -> tuple[float, float, float]:
    """Difference of the means of two methods, with its 95% percentile bootstrap interval (Efron 1979).

    Each sample draws N problems, the same for both, and for each method as many of its runs as there
    are: the interval includes chance in training as well as in the choice of problems.

    Args:
        a_SN: what each of the S runs of one method got on each of N problems.
        b_SN: the same of the other method, on the same problems; S may differ.
        seed: of the samples that are drawn.
        samples: how many.

    Returns:
        The mean of a less that of b, and the lower and upper end of its interval.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    num_problems = a_SN.shape[1]
    # How often each problem is drawn says all about a sample, and takes no N x samples of memory.
    shares = np.full(num_problems, 1 / num_problems)
    differences = np.empty(samples)
    for number in range(samples):
        counts_N = rng.multinomial(num_problems, shares)
        means = [
            rng.choice(runs_SN @ counts_N / num_problems, size=len(runs_SN)).mean()
            for runs_SN in (a_SN, b_SN)
        ]
        differences[number] = means[0] - means[1]
    low, high = np.quantile(differences, [0.025, 0.975])
    return float(a_SN.mean() - b_SN.mean()), float(low), float(high)
