"""Baselines without bias: by simulation, and because they do not depend on later rewards of the rollout."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from anytime_training.advantage import thinking_advantages
from anytime_training.baselines import BASELINES, load_baseline
from anytime_training.baselines.base import BaselineInputs, reached_segments
from anytime_training.returns import returns

from tests.training.baselines.tabular import PRIOR_B, deviation

UNBIASED = [name for name, entry in BASELINES.items() if entry.is_unbiased is not False]
MOST_ERRORS = 4.0
"""Standard errors: 3 parameters x few baselines exceed it once in some thousand seeds."""


@pytest.mark.parametrize("name", [name for name in UNBIASED if not BASELINES[name].needs_values])
def test_mean_gradient_is_the_exact_one(name: str) -> None:
    estimator = partial(thinking_advantages, prior_B=PRIOR_B, baseline=name, leave_one_out=True)
    assert deviation(estimator).abs().max() < MOST_ERRORS


def test_the_simulation_notices_a_group_mean_that_includes_the_rollout() -> None:
    for name in ("v2_only", "brpo"):
        estimator = partial(thinking_advantages, prior_B=PRIOR_B, baseline=name, leave_one_out=False)
        assert deviation(estimator).abs().max() > MOST_ERRORS


@pytest.mark.parametrize("name", ["fitted", "shrunken", "brpo_shrunken"])
def test_the_simulation_notices_statistics_that_include_the_prompt(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sum_of_all(values: torch.Tensor, dim: int) -> torch.Tensor:
        return values.sum(dim=dim, keepdim=True).expand_as(values)

    module = "fitted" if name == "fitted" else "shrunken"
    monkeypatch.setattr(f"anytime_training.baselines.{module}.sum_of_others", sum_of_all)
    monkeypatch.setattr("anytime_training.baselines.fitted.PENALTY_ROLLOUTS", 0.01, raising=True)
    estimator = partial(thinking_advantages, prior_B=PRIOR_B, baseline=name)
    assert deviation(estimator).abs().max() > MOST_ERRORS


@pytest.mark.parametrize("name", UNBIASED)
def test_own_rewards_from_the_segment_on_do_not_change_the_baseline(name: str) -> None:
    random = torch.Generator().manual_seed(1)
    prompts, group, budgets = 5, 3, 4
    rewards = torch.randint(0, 2, (prompts, group, budgets, 2), generator=random).double()
    lengths = torch.randint(1, 9, (prompts, group, 1), generator=random).minimum(torch.tensor([2, 4, 6, 8]))
    prior = torch.tensor([1.0, 2.0, 3.0, 4.0])
    predicted = torch.rand((prompts, group, budgets), generator=random).double()

    def values(rewards_PGBA: torch.Tensor) -> torch.Tensor:
        return load_baseline(name)(
            BaselineInputs(
                rewards_PGBA=rewards_PGBA,
                prior_B=prior,
                returns_PGB=returns(rewards_PGBA, prior),
                reached_PGB=reached_segments(lengths),
                decay=0.5,
                leave_one_out=True,
                values_PGB=predicted,
            )
        )

    before = values(rewards)
    for segment in range(budgets):
        changed = rewards.clone()
        changed[2, 1, segment:] = 1 - changed[2, 1, segment:]
        after = values(changed)[2, 1, : segment + 1]
        torch.testing.assert_close(after, before[2, 1, : segment + 1], rtol=0, atol=1e-12)
