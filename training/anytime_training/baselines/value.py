"""The value head's prediction of the return (our own; `anytime_training.value_head`)."""

from __future__ import annotations

import torch

from anytime_training.baselines.base import BaselineInputs
from anytime_training.baselines.group_mean import group_mean


def baseline(inputs: BaselineInputs) -> torch.Tensor:
    """V_j, predicted from z≤b_{j-1}; before the head's first fit, the leave-one-out group mean R̄_j.

    Unbiased: the head is fitted to earlier steps, and its features do not depend on what follows b_{j-1}.
    """
    if inputs.values_PGB is None:
        return group_mean(inputs.returns_PGB, leave_one_out=True)
    return inputs.values_PGB.to(inputs.returns_PGB)
