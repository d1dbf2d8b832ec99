"""Signal and noise of policy gradients: how many prompts a step needs before its gradient points somewhere.

A step's gradient is the mean of the gradients of its prompts, which are drawn independently. Its expectation
μ is the signal; its covariance is that of one prompt's gradient, divided by the number of prompts. This
module estimates |μ|² and the trace of that covariance from prompts' gradients, with intervals, and shortens
gradients to sketches that fit in memory. It knows no model and no baselines.

Dimensions: P prompts, N vectors, D parameters, K entries of a sketch, Q estimates: the first from all
prompts, then one without each of the P prompts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """An estimate with its 95% interval."""

    value: float
    """From all prompts."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""

    def rounded(self) -> dict[str, float | None]:
        """The estimate for a record, with five significant digits; None where it is not finite."""
        values = {"value": self.value, "low": self.low, "high": self.high}
        return {
            name: float(f"{value:.5g}") if math.isfinite(value) else None for name, value in values.items()
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Signal and noise, from all prompts and without each of them, so that their ratios get intervals."""

    signal_Q: Tensor
    """|μ|², the squared norm of the expected gradient. Unbiased, so that it may be negative."""
    trace_Q: Tensor
    """Trace of the covariance of one prompt's gradient."""

    @property
    def signal(self) -> Estimate:
        """|μ|²."""
        return jackknife(self.signal_Q)

    @property
    def trace(self) -> Estimate:
        """Trace of the covariance of one prompt's gradient."""
        return jackknife(self.trace_Q)

    @property
    def ratio(self) -> Estimate:
        """Signal over trace: that of a step is this times the number of its prompts."""
        return jackknife(self.signal_Q / self.trace_Q)

    def relative_trace(self, other: Moments) -> Estimate:
        """The trace over that of another estimator, from the gradients of the same prompts.

        Its interval is that of its logarithm, so that its lower end is not negative.
        """
        smallest = torch.finfo(self.trace_Q.dtype).tiny
        found = jackknife((self.trace_Q / other.trace_Q).clamp(min=smallest).log())
        value, low, high = torch.tensor([found.value, found.low, found.high]).exp().tolist()
        return Estimate(value=value, low=low, high=high)


def moments(gradients_PK: Tensor) -> Moments:
    """Signal and noise of the gradients of P prompts, at least three.

        |μ|² = Σ_{p≠q} g_p · g_q / (P (P - 1))        trace = Σ_p |g_p|² / P - |μ|²

    Products of different prompts, because a gradient's product with itself contains its noise. Both are
    unbiased if prompts are independent. The noise has two sources, the rollouts of a prompt and the choice of
    prompts; a step has both.

    Example: the gradients (2, 0), (0, 2), (2, 2) have products 0, 4, 4 and squares 4, 4, 8. |μ|² is 16/6,
    the trace 16/3 - 8/3 = 8/3, and the ratio 1.

    Raises:
        ValueError: fewer than three prompts.
    """
    num_prompts = len(gradients_PK)
    if num_prompts < 3:
        raise ValueError(f"signal and noise need the gradients of three prompts, not {num_prompts}")
    gradients_PK = gradients_PK.double()
    squares_P = gradients_PK.square().sum(-1)
    # g_p · Σ_q g_q; leaving out p takes it from the sum of all products twice, less its square.
    products_P = gradients_PK @ gradients_PK.sum(0)
    products_Q = torch.cat([products_P.sum()[None], products_P.sum() - 2 * products_P + squares_P])
    squares_Q = torch.cat([squares_P.sum()[None], squares_P.sum() - squares_P])
    num_Q = torch.full_like(products_Q, num_prompts - 1)
    num_Q[0] = num_prompts
    signal_Q = (products_Q - squares_Q) / (num_Q * (num_Q - 1))
    return Moments(signal_Q=signal_Q, trace_Q=squares_Q / num_Q - signal_Q)


def jackknife(values_Q: Tensor) -> Estimate:
    """An estimate with its 95% t interval, by the jackknife over prompts (Tukey 1958).

    Args:
        values_Q: the estimate from all prompts, then without each of them.
    """
    from scipy.stats import t

    value, without_P = values_Q[0].item(), values_Q[1:]
    num_prompts = len(without_P)
    variance = (num_prompts - 1) / num_prompts * (without_P - without_P.mean()).square().sum().item()
    half = float(t.ppf(0.975, num_prompts - 1)) * variance**0.5
    return Estimate(value=value, low=value - half, high=value + half)


class CountSketch:
    """A random linear map to K entries that keeps inner products in expectation.

    Parameters get random signs, and random groups of them, of equal size, are added up (Charikar, Chen and
    Farach-Colton 2002). The sketched product of two vectors has a standard deviation of at most √(2/K) times
    the product of their norms: 1.1% for K = 16,384.
    """

    def __init__(self, num_parameters: int, num_entries: int, *, seed: int = 0) -> None:
        """
        Args:
            num_parameters: D.
            num_entries: K. Vectors that are not longer are kept as they are.
            seed: of signs and groups.
        """
        self._num_entries = num_entries
        self._is_identity = num_parameters <= num_entries
        random = torch.Generator().manual_seed(seed)
        self._signs_D = torch.randint(2, (num_parameters,), generator=random).float() * 2 - 1
        self._order_D = torch.randperm(num_parameters, generator=random)

    def __call__(self, vectors_ND: Tensor) -> Tensor:
        """Sketches of vectors: sketches_NK, on the CPU, in float32."""
        if self._is_identity:
            return vectors_ND.float().cpu()
        device = vectors_ND.device
        if self._signs_D.device != device:
            self._signs_D, self._order_D = self._signs_D.to(device), self._order_D.to(device)
        shuffled_ND = (vectors_ND.float() * self._signs_D)[:, self._order_D]
        missing = -shuffled_ND.shape[1] % self._num_entries
        padded = torch.nn.functional.pad(shuffled_ND, (0, missing))
        return padded.unflatten(1, (-1, self._num_entries)).sum(1).cpu()
