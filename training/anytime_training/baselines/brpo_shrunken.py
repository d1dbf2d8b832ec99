"""BRPO's mixture with the shrunken group mean in place of V2 (our own)."""

from __future__ import annotations

import torch

from anytime_training.baselines import own_past, shrunken
from anytime_training.baselines.base import BaselineInputs, mixture


def baseline(inputs: BaselineInputs) -> torch.Tensor:
    """(j-1)/m · V1_j + (m-j+1)/m · [(1 - s_j) · R̄_j + s_j · μ_j], with s_j, R̄_j and μ_j of `shrunken`."""
    return mixture(own_past.baseline(inputs), shrunken.baseline(inputs))
