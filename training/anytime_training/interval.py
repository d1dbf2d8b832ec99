"""Confidence intervals of 95%: for shares, for the mean of runs, and for the difference of two methods.

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


def mean_t_interval(values_S: np.ndarray) -> tuple[float, float, float]:
    """Mean of the runs' results with its 95% t interval (Student 1908): mean, lower and upper end.

    The interval covers the randomness of training. Its ends are NaN for a single run.
    """
    import numpy as np

    mean = float(values_S.mean())
    if len(values_S) < 2:
        return mean, float("nan"), float("nan")
    error = float(np.std(values_S, ddof=1)) / len(values_S) ** 0.5
    return mean, *_t_interval(mean, error, len(values_S) - 1)


def paired_t_interval(a_S: np.ndarray, b_S: np.ndarray) -> tuple[float, float, float]:
    """Mean difference of paired runs, with its 95% t interval over the pairs.

    Example: the pairs (3, 1), (5, 2), (7, 3) have differences 2, 3, 4, of mean 3 and standard error
    1/sqrt(3); with 2 degrees of freedom t is 4.3027, and the interval 3 ± 2.4841.

    Args:
        a_S: result of each run of one method.
        b_S: result of the run of the other method that is paired with it.

    Raises:
        ValueError: numbers of runs that differ.
    """
    if len(a_S) != len(b_S):
        raise ValueError(f"{len(a_S)} runs cannot be paired with {len(b_S)}")
    return mean_t_interval(a_S - b_S)


def welch_t_interval(a_S: np.ndarray, b_S: np.ndarray) -> tuple[float, float, float]:
    """Difference of the means of unpaired runs, with its 95% t interval (Welch 1947).

    The two methods may differ in variance and in number of runs; degrees of freedom are Satterthwaite's. The
    ends are NaN where a method has a single run.
    """
    import numpy as np

    difference = float(a_S.mean() - b_S.mean())
    if min(len(a_S), len(b_S)) < 2:
        return difference, float("nan"), float("nan")
    squares = [float(np.var(runs_S, ddof=1)) / len(runs_S) for runs_S in (a_S, b_S)]
    divisor = sum(square**2 / (len(runs_S) - 1) for square, runs_S in zip(squares, (a_S, b_S), strict=True))
    degrees = sum(squares) ** 2 / divisor if divisor else 1.0
    return difference, *_t_interval(difference, sum(squares) ** 0.5, degrees)


def paired_bootstrap(
    a_SN: np.ndarray, b_SN: np.ndarray, *, seed: int, samples: int = 10_000
) -> tuple[float, float, float]:
    """Difference of the means of two methods, with its 95% percentile bootstrap over problems (Efron 1979).

    Each sample draws N problems, the same for both methods, and keeps the runs as they are: the interval
    covers the choice of problems, not the randomness of training.

    Args:
        a_SN: result of each of the S runs of one method on each of N problems, N at least 2.
        b_SN: the same for the other method, on the same problems; S may differ.
        seed: seed of the samples.
        samples: number of samples.

    Returns:
        The mean of a minus the mean of b, and the lower and upper end of its interval.
    """
    import numpy as np
    from scipy.stats import bootstrap

    differences_N = a_SN.mean(0) - b_SN.mean(0)
    drawn = bootstrap(
        (differences_N,), np.mean, n_resamples=samples, batch=500, method="percentile", rng=seed
    )
    low, high = drawn.confidence_interval
    return float(differences_N.mean()), float(low), float(high)


def _t_interval(centre: float, error: float, degrees: float) -> tuple[float, float]:
    """Ends of the 95% interval, given a standard error and its degrees of freedom."""
    from scipy.stats import t  # a slow import

    half = float(t.ppf(0.975, degrees)) * error
    return centre - half, centre + half
