"""The fitted mixture against a plain solution of its least squares, and its fallbacks."""

from __future__ import annotations

import pytest
import torch
from anytime_training.advantage import baselines, thinking_advantages
from anytime_training.baselines import fitted
from anytime_training.baselines.own_past import own_past

PRIOR_B = torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64)


def draw(prompts: int, group: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards at budgets 2, 4, 6, and lengths."""
    random = torch.Generator().manual_seed(seed)
    rewards = torch.randint(0, 2, (prompts, group, 3, 2), generator=random).double()
    lengths = torch.randint(1, 7, (prompts, group, 1), generator=random).minimum(torch.tensor([2, 4, 6]))
    return rewards, lengths


def values_of(rewards: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
    parts = baselines(rewards, PRIOR_B)
    advantages = thinking_advantages(rewards, PRIOR_B, baseline="fitted", lengths_PGB=lengths)
    return parts.returns_PGB - advantages


def test_is_the_ridge_regression_on_the_rollouts_of_other_prompts_that_reach_the_segment() -> None:
    rewards, lengths = draw(prompts=6, group=3)
    actual = values_of(rewards, lengths)
    parts = baselines(rewards, PRIOR_B, leave_one_out=True)
    for prompt in range(6):
        for segment, remaining in enumerate((1.0, 0.75, 0.5)):
            rows, targets, own_rows = [], [], []
            for p in range(6):
                for g in range(3):
                    peers = [h for h in range(3) if h != g]
                    row = [
                        remaining,
                        parts.own_past_PGB[p, g, segment].item(),
                        parts.group_mean_PGB[p, g, segment].item(),
                        sum(parts.own_past_PGB[p, h, segment].item() for h in peers) / 2,
                    ]
                    if p == prompt:
                        own_rows.append(row)
                    elif segment == 0 or lengths[p, g, segment] > lengths[p, g, segment - 1]:
                        rows.append(row)
                        targets.append(parts.returns_PGB[p, g, segment].item())
            start = torch.tensor([0, segment / 3, 1 - segment / 3, 0], dtype=torch.float64)
            # The penalty as four more rows: √λ W θ = √λ W θ⁰.
            scale = 8**0.5 * remaining
            stacked = torch.cat([torch.tensor(rows).double(), scale * torch.eye(4).double()])
            wanted = torch.cat([torch.tensor(targets).double(), scale * start])
            coefficients = torch.linalg.lstsq(stacked, wanted.unsqueeze(-1)).solution.squeeze(-1)
            expected = torch.tensor(own_rows).double() @ coefficients
            if len(rows) < 8:
                expected = torch.tensor(own_rows).double() @ start
            torch.testing.assert_close(actual[prompt, :, segment], expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("prompts", "group"), [(1, 4), (3, 3), (2, 7)])
def test_few_other_rollouts_give_the_mixture_of_brpo(prompts: int, group: int) -> None:
    rewards, _ = draw(prompts, group)
    expected = baselines(rewards, PRIOR_B, leave_one_out=True).mixture_PGB
    torch.testing.assert_close(values_of(rewards), expected, rtol=1e-12, atol=1e-12)


def test_eight_other_rollouts_are_enough() -> None:
    rewards, _ = draw(prompts=2, group=8)
    assert (
        values_of(rewards) - baselines(rewards, PRIOR_B, leave_one_out=True).mixture_PGB
    ).abs().max() > 0.01


def test_finds_that_success_persists(monkeypatch: pytest.MonkeyPatch) -> None:
    """All rewards of a rollout are equal: from the second budget on V1 is the return."""
    monkeypatch.setattr(fitted, "PENALTY_ROLLOUTS", 1e-9)
    random = torch.Generator().manual_seed(0)
    rewards = torch.randint(0, 2, (8, 4, 1, 1), generator=random).double().expand(8, 4, 3, 2)
    expected = own_past(rewards, PRIOR_B)[..., 1:]
    torch.testing.assert_close(values_of(rewards)[..., 1:], expected, rtol=0, atol=1e-6)


def test_budgets_without_weight_have_baseline_0() -> None:
    rewards, lengths = draw(prompts=6, group=4)
    advantages = thinking_advantages(
        rewards, torch.tensor([1.0, 0.0, 0.0]), baseline="fitted", lengths_PGB=lengths
    )
    assert not advantages[..., 1:].any()


def test_keeps_the_type() -> None:
    rewards, _ = draw(prompts=6, group=4)
    assert thinking_advantages(rewards.float(), PRIOR_B, baseline="fitted").dtype == torch.float32
