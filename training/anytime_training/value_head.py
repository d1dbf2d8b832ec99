"""A value head over truncations: predicts the return of thinking from the network's hidden state.

Owns the regression and its state. Knows no network: features are given.

Dimensions: P prompts, G rollouts per prompt, B budgets, H hidden, F features, N rollouts and budgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from anytime_training.rollout import Rollout
from anytime_training.tree import Segment, Tree

MEMORY = 0.9
"""Weight of an earlier step's data, relative to the step after it: about ten steps count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFeatures:
    """Hidden states of a step's rollouts."""

    reached_PGB: torch.Tensor
    """Whether the thinking has a token in segment j."""
    hidden_NH: torch.Tensor
    """The hidden state before each reached segment, in the order of `reached_PGB`."""


class HiddenStates(Protocol):
    """A network that gives the hidden states of trees."""

    def hidden_states(self, trees: Sequence[Tree]) -> torch.Tensor:
        """The hidden states from which learned tokens are predicted, in the order of `tree.numbered`."""
        ...


def step_features(
    rollouts_PG: Sequence[Sequence[Rollout]], budgets: Sequence[int], *, network: HiddenStates
) -> StepFeatures:
    """Features of every rollout at the beginning of each segment that its thinking reaches."""
    starts = [0, *budgets[:-1]]
    rollouts = [rollout for rollouts_G in rollouts_PG for rollout in rollouts_G]
    lengths = torch.tensor([len(rollout.thinking.token_ids) for rollout in rollouts])
    reached = lengths.unsqueeze(-1) > torch.tensor(starts)
    hidden_NH = network.hidden_states([_marked_tree(rollout, starts) for rollout in rollouts])
    shape = (len(rollouts_PG), len(rollouts_PG[0]), len(budgets))
    return StepFeatures(reached_PGB=reached.reshape(shape), hidden_NH=hidden_NH)


def _marked_tree(rollout: Rollout, starts: Sequence[int]) -> Tree:
    """Prompt and thinking, with the first token of each segment as if it were learned."""
    ids = [*rollout.prompt_ids, *rollout.thinking.token_ids]
    firsts = {len(rollout.prompt_ids) + start for start in starts}
    zeros = [0.0] * len(ids)
    learned = [index in firsts for index in range(len(ids))]
    return Tree(trunk=Segment(ids=ids, learned=learned, advantages=zeros, sampler_logprobs=zeros))


class ValueHead:
    """Ridge regression of the mean of future rewards on the hidden state; our own.

        V_j = W_j · clip(w·φ, 0, 1),  W_j = Σ_{k≥j} P_k,  φ = (h / rms(h), one-hot of j)
        w = (Σ μ^age φφᵀ + F I)⁻¹ Σ μ^age φ R_j / W_j

    h is the last hidden state of the network at the last token of z≤b_{j-1}, from which the first token of
    segment j is predicted. Sums are over the rollouts of earlier steps that reach segment j with W_j > 0;
    μ = `MEMORY`. The penalty is the number of features F: before any data, they are expected to explain about
    as much as noise.

    V_j is fitted to earlier steps alone and depends on nothing that the rollout samples from segment j on, so
    R_j - V_j is unbiased. One head serves all budgets, which differ by an intercept. Compare the critics of
    PPO (Schulman et al. 2017, arXiv 1707.06347) and VinePPO's study of them (arXiv 2410.01679).
    """

    def __init__(self, *, num_budgets: int) -> None:
        self._num_budgets = num_budgets
        self._gram_FF: torch.Tensor | None = None
        self._moment_F: torch.Tensor | None = None

    def predict(self, features: StepFeatures, remaining_B: torch.Tensor) -> torch.Tensor | None:
        """V_j, and 0 for segments that a rollout does not reach: values_PGB, float64. None before any data.

        Args:
            remaining_B: W_j.
        """
        if self._gram_FF is None or self._moment_F is None:
            return None
        inputs_NF = self._inputs(features)
        penalty_FF = len(self._gram_FF) * torch.eye(len(self._gram_FF), dtype=torch.float64)
        weights_F = torch.linalg.solve(self._gram_FF + penalty_FF, self._moment_F)
        values_PGB = torch.zeros(features.reached_PGB.shape, dtype=torch.float64)
        values_PGB[features.reached_PGB] = (inputs_NF @ weights_F).clamp(0, 1)
        return values_PGB * remaining_B

    def update(self, features: StepFeatures, returns_PGB: torch.Tensor, remaining_B: torch.Tensor) -> None:
        """Learn from a step, after `predict`."""
        inputs_NF = self._inputs(features)
        targets_PGB = returns_PGB.double() / torch.where(remaining_B > 0, remaining_B, 1)
        counts_N = (remaining_B > 0).expand_as(targets_PGB)[features.reached_PGB]
        inputs_NF, targets_N = inputs_NF[counts_N], targets_PGB[features.reached_PGB][counts_N]
        gram_FF, moment_F = inputs_NF.T @ inputs_NF, inputs_NF.T @ targets_N
        if self._gram_FF is not None and self._moment_F is not None:
            gram_FF, moment_F = MEMORY * self._gram_FF + gram_FF, MEMORY * self._moment_F + moment_F
        self._gram_FF, self._moment_F = gram_FF, moment_F

    def state(self) -> dict[str, torch.Tensor]:
        """The state that a resumed run continues from."""
        if self._gram_FF is None or self._moment_F is None:
            return {}
        return {"value_gram_FF": self._gram_FF, "value_moment_F": self._moment_F}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from `state()`."""
        self._gram_FF, self._moment_F = state.get("value_gram_FF"), state.get("value_moment_F")

    def _inputs(self, features: StepFeatures) -> torch.Tensor:
        """φ of the reached segments, in the order of `reached_PGB`: inputs_NF."""
        hidden_NH = features.hidden_NH.double()
        rms_N1 = hidden_NH.square().mean(dim=-1, keepdim=True).sqrt().clamp(min=1e-12)
        budget_N = features.reached_PGB.nonzero()[:, 2]
        one_hot_NB = torch.nn.functional.one_hot(budget_N, self._num_budgets)
        return torch.cat([hidden_NH / rms_N1, one_hot_NB.double()], dim=-1)
