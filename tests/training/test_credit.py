"""Credit assignment: the advantage of each token, and the tokens that are left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from anytime_server.engine import Generation
from anytime_server.reasoning import Cause, truncate_thinking
from anytime_server.text.model import Model
from anytime_training.config.brpo import CreditConfig
from anytime_training.credit import credit_trees, truncation_lengths
from anytime_training.rollout import Rollout

BUDGETS = [2, 4]
PROMPT = [60, 61, 62]


def generation(ids: list[int], logprob: float) -> Generation:
    return Generation(
        token_ids=tuple(ids), logprobs=(logprob,) * len(ids), cached_tokens=0, finish_reason="stop"
    )


def rollout(model: Model, thinking_ids: list[int], budgets: list[int] = BUDGETS) -> Rollout:
    """A rollout whose answer a at budget b is the token 10 b + a."""
    reasoning = model.reasoning
    return Rollout(
        prompt_ids=PROMPT,
        thinking=generation(thinking_ids, -0.5),
        truncations=tuple(
            truncate_thinking(thinking_ids[:b], reasoning, cause=Cause.BUDGET) for b in budgets
        ),
        answers=tuple(tuple(generation([10 * b + a], -0.25) for a in range(2)) for b in budgets),
    )


@pytest.fixture(name="rollouts")
def fixture_rollouts(tiny_model: Model) -> list[list[Rollout]]:
    """One prompt, two rollouts: thinking that reaches the largest budget, and thinking of three tokens."""
    [end_id] = tiny_model.reasoning.think_end_ids
    return [[rollout(tiny_model, [70, 71, 72, 73]), rollout(tiny_model, [80, 81, end_id])]]


def test_truncation_lengths(rollouts: list[list[Rollout]]) -> None:
    assert truncation_lengths(rollouts).tolist() == [[[2, 4], [2, 3]]]


def test_each_token_gets_its_segments_advantage(rollouts: list[list[Rollout]], tiny_model: Model) -> None:
    """Uniform prior, V2: returns are (r1 + r2)/2, r2/2.

    r = (0.5, 1.0) and (0, 0.5): R = (0.75, 0.5) and (0.25, 0.25); V2 = (0.5, 0.375).
    """
    rewards = torch.tensor([[[[1.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]]]])
    config = CreditConfig(prior="uniform", baseline="v2_only")
    [[first, second]] = credit_trees(rollouts, rewards, BUDGETS, config)

    assert list(first.trunk.ids) == [*PROMPT, 70, 71, 72, 73]
    assert list(first.trunk.learned) == [False] * 3 + [True] * 4
    assert list(first.trunk.advantages) == pytest.approx([0, 0, 0, 0.25, 0.25, 0.125, 0.125])
    assert list(first.trunk.sampler_logprobs) == [0, 0, 0, -0.5, -0.5, -0.5, -0.5]
    assert list(second.trunk.advantages) == pytest.approx([0, 0, 0, -0.25, -0.25, -0.125])

    reasoning = tiny_model.reasoning
    inserted = [*reasoning.truncation_ids, *reasoning.think_end_ids, *reasoning.answer_lead_in_ids]
    right, wrong = first.branches  # after budget 2; both answers after budget 4 are right, and left out
    assert list(right.segment.ids) == [*inserted, 20]
    assert right.num_visible == len(PROMPT) + 2
    assert list(right.segment.learned) == [False] * len(inserted) + [True]
    assert right.segment.advantages[-1] == 0.5
    assert right.segment.sampler_logprobs[-1] == -0.25
    assert wrong.segment.advantages[-1] == -0.5

    wrong, right = second.branches  # after budget 4, where the thinking had ended by itself
    assert list(right.segment.ids) == [*reasoning.answer_lead_in_ids, 41]
    assert right.num_visible == len(PROMPT) + 3
    assert (wrong.segment.advantages[-1], right.segment.advantages[-1]) == (-0.5, 0.5)


@pytest.mark.parametrize(
    ("settings", "advantages"),
    [
        ({"prior": "uniform"}, [1 / 3, 1 / 6, 1 / 6]),  # R = (2/3, 1/3, 1/3), V2 half of it
        ({"prior": "base"}, [1 / 2, 1 / 2, 1 / 2]),  # R = (1, 1, 1)
        ({"prior": [1.0, 0.0, 3.0]}, [1 / 2, 3 / 8, 3 / 8]),  # R = (1, 3/4, 3/4)
        ({"prior": "base", "leave_one_out": True}, [1, 1, 1]),  # the other rollout's return is 0
        ({"prior": "base", "baseline": "none"}, [1, 1, 1]),
        # V1 = (0, r_1, (λ² r_1 + λ r_2) / (λ² + λ)) = (0, 1, λ / (λ + 1))
        ({"prior": "base", "baseline": "v1_only", "decay": 0.25}, [1, 0, 4 / 5]),
        ({"prior": "base", "baseline": "v1_only", "decay": 1.0}, [1, 0, 1 / 2]),
    ],
)
def test_settings_reach_the_thinking(
    tiny_model: Model, settings: dict[str, Any], advantages: list[float]
) -> None:
    """Mean rewards of one rollout are (1, 0, 1), those of the other 0."""
    budgets = [1, 2, 3]
    rollouts = [[rollout(tiny_model, [70, 71, 72], budgets), rollout(tiny_model, [80, 81, 82], budgets)]]
    rewards = torch.tensor([[[[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0]] * 3]])
    config = CreditConfig.model_validate({"baseline": "v2_only"} | settings)
    [[tree, *_]] = credit_trees(rollouts, rewards, budgets, config)
    assert list(tree.trunk.advantages[len(PROMPT) :]) == pytest.approx(advantages)


@pytest.mark.parametrize(
    ("settings", "advantage"), [({}, 1 / 2), ({"summary_weight": 0.25}, 1 / 8), ({"leave_one_out": True}, 1)]
)
def test_settings_reach_the_answers(
    rollouts: list[list[Rollout]], settings: dict[str, Any], advantage: float
) -> None:
    rewards = torch.tensor([[[[1.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]]]])
    [[first, _]] = credit_trees(rollouts, rewards, BUDGETS, CreditConfig.model_validate(settings))
    assert [branch.segment.advantages[-1] for branch in first.branches] == [advantage, -advantage]


def test_tokens_without_gradient_are_left_out(rollouts: list[list[Rollout]]) -> None:
    rewards = torch.ones(1, 2, 2, 2)
    assert credit_trees(rollouts, rewards, BUDGETS, CreditConfig(baseline="v2_only")) == [[]]
    [kept] = credit_trees(rollouts, rewards, BUDGETS, CreditConfig(baseline="v2_only"), keep_all=True)
    assert [len(tree.branches) for tree in kept] == [4, 4]


def test_no_answer_attends_to_an_end_of_turn_that_is_learned(tiny_model: Model) -> None:
    eos_id = min(tiny_model.reasoning.eos_ids)
    rollouts = [[rollout(tiny_model, [70, 71, eos_id]), rollout(tiny_model, [70, 71, 72, 73])]]
    rewards = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]]]])
    [[tree, _]] = credit_trees(rollouts, rewards, BUDGETS, CreditConfig())
    assert list(tree.trunk.ids) == [*PROMPT, 70, 71, eos_id]
    assert tree.trunk.learned[-1]
    assert tree.trunk.advantages[-1] < 0
    [[all_of_it, _]] = credit_trees(rollouts, rewards, BUDGETS, CreditConfig(), keep_all=True)
    assert [branch.num_visible for branch in all_of_it.branches] == [5, 5, 5, 5]


def test_grpo_trains_the_last_answer_alone(rollouts: list[list[Rollout]]) -> None:
    rewards = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]]])
    trees = credit_trees(rollouts, rewards, BUDGETS, CreditConfig(summary="grpo", prior="base"))
    assert [[branch.segment.ids[-1] for branch in tree.branches] for tree in trees[0]] == [[41], [41]]


def three_budgets(model: Model) -> list[list[Rollout]]:
    """One prompt, two rollouts of three thinking tokens, truncated after each; two answers a budget."""
    rollouts = [
        Rollout(
            prompt_ids=PROMPT,
            thinking=generation([70, 71, 72], -0.5),
            truncations=tuple(
                truncate_thinking([70, 71, 72][:b], model.reasoning, cause=Cause.BUDGET) for b in (1, 2, 3)
            ),
            answers=tuple(tuple(generation([10 * b + a], -0.25) for a in range(2)) for b in (1, 2, 3)),
        )
        for _ in range(2)
    ]
    return [rollouts]


# Means (0, 1/2, 1) and (1/2, 1/2, 0); with a uniform prior the returns are (1/2, 1/2, 1/3) and (1/3, 1/6, 0).
THREE_REWARDS = torch.tensor([[[[0, 0], [1, 0], [1, 1]], [[0, 1], [0, 1], [0, 0]]]])


@pytest.mark.parametrize(
    ("config", "thinking", "answers"),
    [
        # V1_3 = mean(0, 1/2) / 3 = 1/12 and 1/6: with λ = 1 both earlier budgets count the same.
        (
            CreditConfig(prior="uniform", baseline="v1_only", decay=1.0, summary="none"),
            [[1 / 2, 1 / 2, 1 / 4], [1 / 3, -1 / 6, -1 / 6]],
            [[], []],
        ),
        # V2 is the other's return. In a group of two, an answer's baseline is the other answer.
        (
            CreditConfig(prior="uniform", baseline="v2_only", leave_one_out=True, summary_weight=0.25),
            [[1 / 6, 1 / 3, 1 / 3], [-1 / 6, -1 / 3, -1 / 3]],
            [[(20, 0.25), (21, -0.25)], [(10, -0.25), (11, 0.25), (20, -0.25), (21, 0.25)]],
        ),
        (
            CreditConfig(prior="uniform", baseline="v2_only", summary_weight=0.25),
            [[1 / 12, 1 / 6, 1 / 6], [-1 / 12, -1 / 6, -1 / 6]],
            [[(20, 0.125), (21, -0.125)], [(10, -0.125), (11, 0.125), (20, -0.125), (21, 0.125)]],
        ),
    ],
)
def test_every_setting_of_the_credit_applies(
    tiny_model: Model,
    config: CreditConfig,
    thinking: list[list[float]],
    answers: list[list[tuple[int, float]]],
) -> None:
    [trees] = credit_trees(three_budgets(tiny_model), THREE_REWARDS, [1, 2, 3], config)
    for tree, thinking_T, answers_A in zip(trees, thinking, answers, strict=True):
        assert list(tree.trunk.advantages) == pytest.approx([0, 0, 0, *thinking_T])
        ends = [(one.segment.ids[-1], one.segment.advantages[-1]) for one in tree.branches]
        assert [token_id for token_id, _ in ends] == [token_id for token_id, _ in answers_A]
        assert [advantage for _, advantage in ends] == pytest.approx([value for _, value in answers_A])


def test_rollouts_that_lack_answers_are_refused(tiny_model: Model) -> None:
    [[first, second]] = three_budgets(tiny_model)
    for answers in (second.answers[:-1], tuple(answers_A[:-1] for answers_A in second.answers)):
        lacking = [[first, replace(second, answers=answers)]]
        with pytest.raises(ValueError, match=r"shorter|longer"):
            credit_trees(lacking, THREE_REWARDS, [1, 2, 3], CreditConfig())
