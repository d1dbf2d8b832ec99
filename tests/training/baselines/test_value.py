"""Baselines of the value head, by hand."""

from __future__ import annotations

from dataclasses import replace

import torch
from anytime_training.baselines import load_baseline
from anytime_training.baselines.base import BaselineInputs

# Base prior, two budgets: rewards (0 | 1) and (1 | 0), so R = (1, 1) and (0, 0).
INPUTS = BaselineInputs(
    rewards_PGBA=torch.tensor([[[[0.0], [1.0]], [[1.0], [0.0]]]]),
    prior_B=torch.tensor([0.0, 1.0]),
    returns_PGB=torch.tensor([[[1.0, 1.0], [0.0, 0.0]]]),
    reached_PGB=torch.ones(1, 2, 2, dtype=torch.bool),
    decay=0.5,
    leave_one_out=False,
    values_PGB=torch.tensor([[[0.5, 0.75], [0.5, 0.25]]], dtype=torch.float64),
)


def test_is_the_prediction() -> None:
    values = load_baseline("value")(INPUTS)
    assert values.tolist() == [[[0.5, 0.75], [0.5, 0.25]]]
    assert values.dtype == torch.float32


def test_temporal_difference() -> None:
    # δ_1 = 0 + V_2 - V_1 = 1/4 and -1/4; δ_2 = R_2 - V_2 = 1/4 and -1/4.
    advantages = INPUTS.returns_PGB - load_baseline("value_td")(INPUTS)
    assert advantages.tolist() == [[[0.25, 0.25], [-0.25, -0.25]]]


def test_no_bootstrapping_where_the_thinking_has_ended() -> None:
    reached = torch.tensor([[[True, False], [True, True]]])
    advantages = INPUTS.returns_PGB - load_baseline("value_td")(replace(INPUTS, reached_PGB=reached))
    assert advantages[..., 0].tolist() == [[0.5, -0.25]]  # R_1 - V_1 of the first


def test_before_the_first_fit_it_is_the_mean_of_the_other_rollouts() -> None:
    for name in ("value", "value_td"):
        values = load_baseline(name)(replace(INPUTS, values_PGB=None))
        assert values.tolist() == [[[0, 0], [1, 1]]]
