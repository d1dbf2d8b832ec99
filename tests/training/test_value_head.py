"""The value head: the regression against a plain solution, the features, and what it may not see."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from anytime_server.engine import Generation
from anytime_training.rollout import Rollout
from anytime_training.tree import Tree
from anytime_training.value_head import StepFeatures, ValueHead, step_features

REMAINING_B = torch.tensor([1.0, 0.5], dtype=torch.float64)


def draw(seed: int) -> tuple[StepFeatures, torch.Tensor]:
    """Features of 3 prompts x 4 rollouts x 2 budgets with 5 hidden units, and returns."""
    random = torch.Generator().manual_seed(seed)
    reached_PGB = torch.ones(3, 4, 2, dtype=torch.bool)
    reached_PGB[..., 1] = torch.rand(3, 4, generator=random) < 0.6
    hidden_NH = torch.randn(int(reached_PGB.sum()), 5, generator=random)
    returns_PGB = torch.rand(3, 4, 2, generator=random, dtype=torch.float64) * REMAINING_B
    return StepFeatures(reached_PGB=reached_PGB, hidden_NH=hidden_NH), returns_PGB


def rows(features: StepFeatures, returns_PGB: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets of the reached segments, one by one."""
    hidden, inputs, targets = iter(features.hidden_NH.double()), [], []
    for p, g, j in features.reached_PGB.nonzero().tolist():
        h = next(hidden)
        inputs.append(torch.cat([h / h.square().mean().sqrt(), torch.eye(2, dtype=torch.float64)[j]]))
        targets.append(returns_PGB[p, g, j] / REMAINING_B[j])
    return torch.stack(inputs), torch.stack(targets)


def test_is_the_ridge_regression_on_earlier_steps() -> None:
    head = ValueHead(num_budgets=2)
    steps = [draw(seed) for seed in range(3)]
    assert head.predict(steps[0][0], REMAINING_B) is None
    for features, returns_PGB in steps[:2]:
        head.update(features, returns_PGB, REMAINING_B)
    (old, old_targets), (new, new_targets) = (rows(*step) for step in steps[:2])
    gram = 0.9 * old.T @ old + new.T @ new + 7 * torch.eye(7)
    weights = torch.linalg.solve(gram, 0.9 * old.T @ old_targets + new.T @ new_targets)
    features, returns_PGB = steps[2]
    values_PGB = head.predict(features, REMAINING_B)
    assert values_PGB is not None
    inputs, _ = rows(features, returns_PGB)
    expected = (inputs @ weights).clamp(0, 1) * REMAINING_B.expand(3, 4, 2)[features.reached_PGB]
    torch.testing.assert_close(values_PGB[features.reached_PGB], expected)
    assert not values_PGB[~features.reached_PGB].any()
    assert expected.std() > 0.01


def test_predictions_do_not_depend_on_the_steps_own_returns() -> None:
    head = ValueHead(num_budgets=2)
    head.update(*draw(0), REMAINING_B)
    before = head.predict(draw(1)[0], REMAINING_B)
    head.update(*draw(1), REMAINING_B)
    after = head.predict(draw(1)[0], REMAINING_B)
    assert before is not None
    assert after is not None
    assert not torch.equal(before, after)  # so a head that is updated first would have seen them


def test_state_continues_a_run() -> None:
    head, resumed = ValueHead(num_budgets=2), ValueHead(num_budgets=2)
    resumed.load_state(head.state())
    assert resumed.predict(draw(1)[0], REMAINING_B) is None
    head.update(*draw(0), REMAINING_B)
    resumed.load_state(head.state())
    for one in (head, resumed):
        one.update(*draw(1), REMAINING_B)
    first, second = (one.predict(draw(2)[0], REMAINING_B) for one in (head, resumed))
    assert first is not None
    assert second is not None
    assert torch.equal(first, second)


def test_budgets_without_weight_are_not_learned_from() -> None:
    remaining_B = torch.tensor([1.0, 0.0], dtype=torch.float64)
    features, returns_PGB = draw(0)
    heads = [ValueHead(num_budgets=2) for _ in range(2)]
    for head, last in zip(heads, (0.0, 5.0), strict=True):
        head.update(features, returns_PGB * remaining_B + last * (1 - remaining_B), remaining_B)
    first, second = (head.predict(draw(1)[0], remaining_B) for head in heads)
    assert first is not None
    assert second is not None
    assert torch.equal(first, second)
    assert not first[..., 1].any()


class Positions:
    """Gives the position from which each learned token is predicted as its hidden state."""

    def hidden_states(self, trees: Sequence[Tree]) -> torch.Tensor:
        learned = [index for tree in trees for index, one in enumerate(tree.trunk.learned) if one]
        return torch.tensor([[index - 1.0] for index in learned])


@pytest.mark.parametrize(
    ("lengths", "expected"), [((1, 2), [2, 2]), ((3, 7), [2, 4, 2, 4, 7]), ((5, 6), [2, 4, 2, 4, 7])]
)
def test_features_are_from_the_last_token_before_each_segment(
    lengths: tuple[int, int], expected: list[int]
) -> None:
    """Three tokens of prompt, at positions 0 to 2, and budgets 2, 5, 8."""
    rollouts = [
        Rollout(
            prompt_ids=[1, 2, 3],
            thinking=Generation(
                token_ids=(9,) * length, logprobs=(0.0,) * length, cached_tokens=0, finish_reason="stop"
            ),
            truncations=(),
            answers=(),
        )
        for length in lengths
    ]
    features = step_features([rollouts], [2, 5, 8], network=Positions())
    assert features.reached_PGB.tolist() == [[[True, length > 2, length > 5] for length in lengths]]
    assert features.hidden_NH.flatten().tolist() == expected
