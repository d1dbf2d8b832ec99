"""Confidence intervals of 95%: for shares, and for the difference between two methods.

Dimensions: S runs of a method, N problems.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def wilson_interval(num_right: int, num_tried: int) -> tuple[float, float]:
    """95% score interval of a share (Wilson 1927, equation 4), within [0, 1]."""
    from scipy.stats import binomtest  # a slow import, which --help must not wait for

    interval = binomtest(num_right, num_tried).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def paired_bootstrap(
    a_SN: np.ndarray, b_SN: np.ndarray, *, seed: int, samples: int = 10_000
) -> tuple[float, float, float]:
    """Difference of the means of two methods, with its 95% percentile bootstrap interval (Efron 1979).

    Each sample draws N problems, the same for both, and for each method S of its runs: the
    interval includes the randomness of training as well as of the choice of problems.

    Args:
        a_SN: result of each of the S runs of one method on each of N problems.
        b_SN: the same for the other method, on the same problems; S may differ.
        seed: seed of the samples.
        samples: number of samples.

    Returns:
        The mean of a minus the mean of b, and the lower and upper end of its interval.
    """
    import numpy as np
    from scipy.stats import bootstrap

    def difference(problems_N: np.ndarray, a_runs_S: np.ndarray, b_runs_S: np.ndarray) -> float:
        return a_SN[np.ix_(a_runs_S, problems_N)].mean() - b_SN[np.ix_(b_runs_S, problems_N)].mean()

    # scipy resamples indices of problems and of runs. It requires two of each: a single run is given twice.
    runs = [np.arange(max(2, len(runs_SN))) % len(runs_SN) for runs_SN in (a_SN, b_SN)]
    drawn = bootstrap(
        (np.arange(a_SN.shape[1]), *runs),
        difference,
        n_resamples=samples,
        vectorized=False,
        method="percentile",
        rng=seed,
    )
    low, high = drawn.confidence_interval
    return float(a_SN.mean() - b_SN.mean()), float(low), float(high)
