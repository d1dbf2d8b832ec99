"""BRPO's baseline: a mixture that moves from the group mean to the own past (arXiv 2505.13438)."""

from __future__ import annotations

import torch

from anytime_training.baselines import group_mean, own_past
from anytime_training.baselines.base import BaselineInputs, mixture


def baseline(inputs: BaselineInputs) -> torch.Tensor:
    """(j-1)/m · V1_j + (m-j+1)/m · V2_j."""
    return mixture(own_past.baseline(inputs), group_mean.baseline(inputs))
