"""Neyman's allocation: whole numbers against a search, and estimates by hand."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from anytime_server.engine import Generation
from anytime_training.allocation import AnswerAllocation, neyman_counts
from anytime_training.rollout import Rollout


def rollout(lengths_BA: list[list[int]]) -> Rollout:
    """Answers of these lengths."""

    def generation(length: int) -> Generation:
        ids = (5,) * length
        return Generation(token_ids=ids, logprobs=(0.0,) * length, cached_tokens=0, finish_reason="stop")

    answers = tuple(tuple(map(generation, lengths_A)) for lengths_A in lengths_BA)
    return Rollout(prompt_ids=[1], thinking=generation(3), truncations=(), answers=answers)


@pytest.mark.parametrize("weights", [[1.0, 2.0, 3.0], [0.0, 0.3, 0.1], [5.0, 0.01, 1.0], [1.0, 1.0, 1.1]])
def test_no_other_counts_leave_less_variance(weights: list[float]) -> None:
    def variance(counts: tuple[int, ...]) -> float:
        return sum(weight**2 / count for weight, count in zip(weights, counts, strict=True))

    others = [counts for counts in product(range(2, 9), repeat=3) if sum(counts) == 12]
    assert variance(tuple(neyman_counts(weights, total=12))) == pytest.approx(min(map(variance, others)))


def test_counts_by_hand() -> None:
    assert neyman_counts([1, 2, 3], total=12) == [2, 4, 6]
    assert neyman_counts([0, 0, 1], total=12) == [2, 2, 8]
    assert neyman_counts([0, 0, 0], total=7) == [3, 2, 2]
    assert neyman_counts([0, 1], total=5, least=1) == [1, 4]
    with pytest.raises(ValueError, match="5 answers are not 2 for each of 3"):
        neyman_counts([1, 1, 1], total=5)


def test_estimates_are_from_earlier_steps_and_come_back() -> None:
    """Two budgets, uniform prior. Means (1/2, 1) and (1/2, 1/2) of two answers: E[r(1-r)] = 1/2 and 1/4.

    Answers have 2 and 4 tokens: w = sqrt(1/4) and sqrt(1/16), in the ratio of 2 to 1.
    """
    allocation = AnswerAllocation(torch.tensor([0.5, 0.5]), answers_per_budget=6)
    assert allocation.counts_B == [6, 6]
    rewards = torch.tensor([[[[1.0, 0.0], [1.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]])
    allocation.update([[rollout([[1, 3], [4, 4]])] * 2], rewards)
    assert allocation.counts_B == [8, 4]
    resumed = AnswerAllocation(torch.tensor([0.5, 0.5]), answers_per_budget=6)
    resumed.load_state(allocation.state())
    # Without variance in a step, both fall by the same factor; the weights stay 2 to 1.
    for one in (allocation, resumed):
        one.update([[rollout([[2, 2], [4, 4]])] * 2], torch.ones(1, 2, 2, 2))
        assert one.counts_B == [8, 4]
    assert torch.equal(allocation.state()["allocation_sums_3B"], resumed.state()["allocation_sums_3B"])
    # A step whose rewards vary at the second budget alone moves answers there.
    allocation.update([[rollout([[2, 2], [4, 4]])] * 2], torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]] * 2]))
    assert allocation.counts_B[1] > 4


def test_missing_answers_do_not_count() -> None:
    """Three and two answers: means 1/3 and 1/2; 1/3 · 2/3 · 3/2 = 1/3 and 1/4 · 2 = 1/2."""
    allocation = AnswerAllocation(torch.tensor([0.5, 0.5]), answers_per_budget=6)
    rewards = torch.tensor([[[[1.0, 0.0, 0.0], [1.0, 0.0, 0.5]]]])
    allocation.update([[rollout([[2, 2, 2], [2, 2]])]], rewards)
    variances, tokens, _ = allocation.state()["allocation_sums_3B"]
    assert variances.tolist() == pytest.approx([1 / 3, 1 / 2])
    assert tokens.tolist() == [2, 2]


def test_the_prior_weighs() -> None:
    allocation = AnswerAllocation(torch.tensor([0.0, 1.0]), answers_per_budget=4)
    allocation.update([[rollout([[2, 2], [2, 2]])]], torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]]))
    assert allocation.counts_B == [2, 6]
