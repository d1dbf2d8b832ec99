"""Likelihood rewards: by hand, by simulation, and scored by a network."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
import torch
from anytime_server.engine import Generation
from anytime_server.reasoning import Cause, truncate_thinking
from anytime_server.text.model import BUNDLED_MODELS, Model
from anytime_training.config.brpo import LearnerConfig
from anytime_training.config.credit import CreditConfig
from anytime_training.config.loss import LossConfig
from anytime_training.credit import credit_trees
from anytime_training.demo.chain.task import ChainTask
from anytime_training.errors import RecipeError
from anytime_training.learner import Learner
from anytime_training.likelihood import accepted_ids, likelihoods, require_accepted_answers
from anytime_training.rollout import Rollout
from anytime_training.start import load_network
from anytime_training.tasks import GymTask, Problem, Split
from anytime_training.tree import Tree

PROMPT = [60, 61, 62]
PROBLEM = Problem(content="1", prompt="1", answer="7")


class Listing:
    """Accepts the answer with any white space around it, and lists three texts."""

    def sample(self, rng: random.Random, split: Split = "train") -> Problem:
        raise NotImplementedError

    def grade(self, problem: Problem, answer_text: str) -> bool:
        return answer_text.strip() == problem.answer

    def accepted_answers(self, problem: Problem) -> Sequence[str]:
        return [problem.answer, problem.answer, "8", f"{problem.answer}    "]


class Table:
    """Scores every learned token with the chance of its id."""

    def __init__(self, chances: dict[int, float]) -> None:
        self.chances = chances
        self.num_branches: list[int] = []

    def logprobs(self, trees: Sequence[Tree]) -> torch.Tensor:
        self.num_branches += [len(tree.branches) for tree in trees]
        ids = [
            token_id
            for tree in trees
            for segment in (tree.trunk, *(branch.segment for branch in tree.branches))
            for token_id, is_learned in zip(segment.ids, segment.learned, strict=True)
            if is_learned
        ]
        return torch.tensor([math.log(self.chances[token_id]) for token_id in ids], dtype=torch.float64)


def generation(*ids: int) -> Generation:
    return Generation(token_ids=ids, logprobs=(-1.0,) * len(ids), cached_tokens=0, finish_reason="stop")


def rollout(model: Model, thinking: list[int], answers: list[list[tuple[int, ...]]]) -> Rollout:
    """Budgets 1, 2, …, one for each list of answers."""
    return Rollout(
        prompt_ids=PROMPT,
        thinking=generation(*thinking),
        truncations=tuple(
            truncate_thinking(thinking[: budget + 1], model.reasoning, cause=Cause.BUDGET)
            for budget in range(len(answers))
        ),
        answers=tuple(tuple(generation(*ids) for ids in answers_A) for answers_A in answers),
    )


def test_accepted_ids(tiny_model: Model) -> None:
    """Repeats, wrong answers and answers that are too long are left out."""
    [seven], padded = tiny_model.tokenizer.encode("7"), tiny_model.tokenizer.encode("7    ")
    assert len(padded) > 1
    eos_ids = sorted(tiny_model.reasoning.eos_ids)

    def ids(max_tokens: int) -> list[tuple[int, ...]]:
        return accepted_ids(
            Listing(),
            PROBLEM,
            tokenizer=tiny_model.tokenizer,
            reasoning=tiny_model.reasoning,
            max_tokens=max_tokens,
        )

    assert ids(len(padded) + 1) == [(seven, e) for e in eos_ids] + [(*padded, e) for e in eos_ids]
    assert ids(len(padded)) == [(seven, e) for e in eos_ids]
    assert ids(1) == []


def test_rewards_by_hand(tiny_model: Model) -> None:
    """Two budgets; answers are 70 and 71, then 90 as the end of the turn."""
    scorer = Table({70: 0.5, 71: 0.25, 90: 0.8})
    one = rollout(tiny_model, [40, 41], [[(70, 90), (72, 90)], [(72, 90), (73, 90)]])
    rewards = torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]]])
    found = likelihoods([[one]], [[(70, 90), (71, 90)]], rewards, scorer=scorer)
    # π = 0.5 · 0.8 + 0.25 · 0.8 = 0.6; at the first budget one of two right answers is not listed.
    assert found.rest_PGBA.tolist() == [[[[0, 1], [1, 0]]]]
    torch.testing.assert_close(found.rewards_PGB, torch.tensor([[[1.1, 1.1]]], dtype=torch.float64))
    assert [answer.probability for answer in found.scored_PGB[0][0][1]] == pytest.approx([0.4, 0.2])


def test_equal_truncations_are_scored_once_and_an_ended_turn_not_at_all(tiny_model: Model) -> None:
    scorer = Table({70: 0.5, 90: 0.8})
    [think_end] = tiny_model.reasoning.think_end_ids
    eos = min(tiny_model.reasoning.eos_ids)
    answers = [[(70, 90)]] * 3
    finished, ended = rollout(tiny_model, [40, think_end], answers), rollout(tiny_model, [40, eos], answers)
    rewards = torch.zeros(1, 2, 3, 1)
    found = likelihoods([[finished, ended]], [[(70, 90)]], rewards, scorer=scorer)
    assert scorer.num_branches == [2, 1]
    torch.testing.assert_close(
        found.rewards_PGB, torch.tensor([[[0.4, 0.4, 0.4], [0.4, 0, 0]]], dtype=torch.float64)
    )


def test_no_listed_answers_leave_the_sampled_rewards(tiny_model: Model) -> None:
    one = rollout(tiny_model, [40], [[(70, 90), (71, 90)]])
    rewards = torch.tensor([[[[1.0, 0.0]]]])
    found = likelihoods([[one]], [[]], rewards, scorer=Table({}))
    assert found.rewards_PGB.tolist() == [[[0.5]]]


def test_expectation_is_that_of_the_sampled_rewards_and_the_variance_is_less(tiny_model: Model) -> None:
    """Answers 70 (listed) and 72 (right as well, not listed) with chances 0.3 and 0.2; A = 2."""
    rng, scorer = random.Random(0), Table({70: 0.3, 90: 1.0})
    drawn = [
        [rng.choices([(70, 90), (72, 90), (73, 90)], [0.3, 0.2, 0.5])[0] for _ in range(2)]
        for _ in range(4000)
    ]
    rollouts = [rollout(tiny_model, [40], [answers]) for answers in drawn]
    rewards = torch.tensor([[[[float(ids[0] != 73) for ids in answers]] for answers in drawn]])
    found = likelihoods([rollouts], [[(70, 90)]], rewards, scorer=scorer).rewards_PGB.flatten()
    assert abs(found.mean() - 0.5) < 4 * found.std() / 4000**0.5
    # Variances 0.2 · 0.8 / 2 and 0.5 · 0.5 / 2.
    assert found.var().item() == pytest.approx(0.08, rel=0.1)
    assert rewards.double().mean(-1).var().item() == pytest.approx(0.125, rel=0.1)
    # With listed answers counted twice, the mean is 0.8.
    assert (0.3 + rewards.mean() - 0.5).abs() > 0.2


def test_thinking_and_answers_get_their_credit(tiny_model: Model) -> None:
    """Two rollouts with one budget: r̂ = 0.4 + 0 and 0.4 + 1/2. Exact answers: 2 · 0.4, and the unlisted."""
    rollouts = [[rollout(tiny_model, [t], [[(70, 90), (72, 90)]]) for t in (40, 41)]]
    rewards = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    found = likelihoods(rollouts, [[(70, 90)]], rewards, scorer=Table({70: 0.5, 90: 0.8}))
    config = CreditConfig(
        prior="base", baseline="v2_only", reward="likelihood", summary="exact", summary_weight=0.5
    )
    [[first, second]] = credit_trees(rollouts, rewards, [1], config, likelihoods=found)
    assert (first.trunk.advantages[-1], second.trunk.advantages[-1]) == pytest.approx((-0.25, 0.25))
    [exact] = first.branches
    assert (exact.segment.ids[-2:], exact.segment.advantages[-2:]) == ([70, 90], [0.4, 0.4])
    assert exact.segment.sampler_logprobs[-2:] == pytest.approx([math.log(0.5), math.log(0.8)])
    assert [branch.segment.advantages[-1] for branch in second.branches] == [0.5, pytest.approx(0.4)]


def test_exact_answers_of_equal_truncations_are_one_branch(tiny_model: Model) -> None:
    [think_end] = tiny_model.reasoning.think_end_ids
    rollouts = [[rollout(tiny_model, [think_end], [[(73, 90)] * 2] * 3)]]
    found = likelihoods(rollouts, [[(70, 90)]], torch.zeros(1, 1, 3, 2), scorer=Table({70: 0.5, 90: 0.8}))
    config = CreditConfig(reward="likelihood", summary="exact")
    [[tree]] = credit_trees(rollouts, torch.zeros(1, 1, 3, 2), [1, 2, 3], config, likelihoods=found)
    assert [branch.segment.advantages[-1] for branch in tree.branches] == pytest.approx([6 * 0.4])


def test_tasks_that_cannot_list_answers_are_refused() -> None:
    require_accepted_answers(ChainTask(), PROBLEM, key="credit.reward")
    with pytest.raises(RecipeError, match=r"credit.reward: the task gym cannot list"):
        require_accepted_answers(GymTask(dataset="any"), PROBLEM, key="credit.reward")


def test_a_network_scores_the_tokens_after_their_own_truncation() -> None:
    """Against plain forward passes over the whole text."""
    model = Model.load(BUNDLED_MODELS / "demo-warmstart")
    network = load_network(model.folder, attention="sdpa")
    learner = Learner(
        network,
        config=LearnerConfig(row_tokens=64, micro_batch_tokens=128),
        loss=LossConfig(),
        pad_id=0,
        max_rollout_tokens=8,
    )
    prompt = model.prompt_ids([{"role": "user", "content": "7-3+5"}])
    eos = min(model.reasoning.eos_ids)
    digits = [(*model.tokenizer.encode(digit), eos) for digit in "79"]
    thinkings = [model.tokenizer.encode("7-3=4; 4+5=9"), model.tokenizer.encode("Quick")]
    rollouts = [
        Rollout(
            prompt_ids=prompt,
            thinking=generation(*ids),
            truncations=tuple(
                truncate_thinking(ids[:budget], model.reasoning, cause=Cause.BUDGET) for budget in (2, 5)
            ),
            answers=((generation(1),),) * 2,
        )
        for ids in thinkings
    ]
    found = likelihoods([rollouts], [digits], torch.zeros(1, 2, 2, 1), scorer=learner)
    for one, scored_B in zip(rollouts, found.scored_PGB[0], strict=True):
        for truncation, scored in zip(one.truncations, scored_B, strict=True):
            for ids, answer in zip(digits, scored, strict=True):
                whole = torch.tensor([[*truncation.answer_prompt(prompt), *ids]])
                with torch.no_grad():
                    logprobs = network(whole).logits[0].log_softmax(-1)
                start = whole.shape[1] - len(ids)
                expected = [logprobs[start + i - 1, token].item() for i, token in enumerate(ids)]
                assert answer.token_ids == ids
                assert answer.logprobs == pytest.approx(expected, abs=1e-4)
