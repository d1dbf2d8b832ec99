"""The credit assignment of a run: what it needs beside a step's rewards, from the task and from the network.

Knows the settings of the algorithm and the learner, but no engine. `credit` has the pure part.

Dimensions: P prompts, G rollouts per prompt, B budgets, A answers per budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from anytime_server.text.model import Model

from anytime_training.allocation import AnswerAllocation
from anytime_training.config.brpo import BrpoRecipe
from anytime_training.credit import credit_trees, thinking_rewards
from anytime_training.learner import Learner
from anytime_training.likelihood import Likelihoods, accepted_ids, likelihoods
from anytime_training.prior import budget_prior
from anytime_training.returns import remaining_prior, returns
from anytime_training.reward import Grades, answer_counts
from anytime_training.rollout import Rollout
from anytime_training.tasks import ListingTask, Problem
from anytime_training.tree import Tree
from anytime_training.value_head import ValueHead, step_features

T = TypeVar("T")


class CreditAssignment:
    """From a step's graded rollouts to trees with advantages."""

    def __init__(self, recipe: BrpoRecipe, *, model: Model, learner: Learner, answer_tokens: int) -> None:
        """
        Args:
            answer_tokens: the most sampled tokens of an answer.
        """
        self._recipe = recipe
        self._config = recipe.effective_credit
        self._model = model
        self._learner = learner
        self._answer_tokens = answer_tokens
        self._budgets = recipe.rollout.trained_budgets
        self._prior_B = budget_prior(self._config.prior, self._budgets)
        self._value_head = ValueHead(num_budgets=len(self._budgets))
        self._allocation = AnswerAllocation(
            self._prior_B, answers_per_budget=recipe.rollout.answers_per_budget
        )

    @property
    def counts_B(self) -> list[int] | None:
        """Answers to sample at each budget in the next step; None for the same number everywhere."""
        return None if self._recipe.rollout.allocation == "equal" else self._allocation.counts_B

    def state(self) -> dict[str, torch.Tensor]:
        """The part of credit assignment that follows from earlier steps, for a resumed run."""
        return self._value_head.state() | self._allocation.state()

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from `state()`."""
        self._value_head.load_state(state)
        self._allocation.load_state(state)

    def trees(
        self, rollouts_PG: Sequence[Sequence[Rollout]], problems_P: Sequence[Problem], grades: Grades
    ) -> tuple[list[list[Tree]], dict[str, Any]]:
        """Trees of each prompt's rollouts, and metrics of this step.

        The learner must still have the weights that the rollouts were sampled with.
        """
        recipe, metrics = self._recipe, dict[str, Any]()
        if recipe.rollout.allocation == "neyman":
            metrics["answers_at"] = self._by_budget(answer_counts(rollouts_PG))
            self._allocation.update(rollouts_PG, grades.rewards_PGBA)
        found: Likelihoods | None = None
        if self._config.needs_likelihoods:
            found = self._likelihoods(rollouts_PG, problems_P, grades)
            metrics["likelihood_at"] = self._by_budget(found.rewards_PGB.mean((0, 1)).tolist())
            metrics["unlisted_at"] = self._by_budget(found.rest_PGBA.mean((0, 1, 3)).tolist())
        values_PGB: torch.Tensor | None = None
        if self._config.needs_values:
            rewards_PGBA = thinking_rewards(grades.rewards_PGBA.double(), self._config, found)
            values_PGB, metrics["value_error_at"] = self._values(rollouts_PG, rewards_PGBA)
        trees_PG = credit_trees(
            rollouts_PG,
            grades.rewards_PGBA,
            self._budgets,
            self._config,
            likelihoods=found,
            values_PGB=values_PGB,
            keep_all=recipe.loss.kl_coefficient > 0,
        )
        return trees_PG, metrics

    def _values(
        self, rollouts_PG: Sequence[Sequence[Rollout]], rewards_PGBA: torch.Tensor
    ) -> tuple[torch.Tensor | None, dict[str, float | None]]:
        """Predictions of the value head, which then learns from this step, and their mean squared errors."""
        features = step_features(rollouts_PG, self._budgets, network=self._learner)
        returns_PGB = returns(rewards_PGBA, self._prior_B)
        remaining_B = remaining_prior(rewards_PGBA, self._prior_B)
        values_PGB = self._value_head.predict(features, remaining_B)
        self._value_head.update(features, returns_PGB, remaining_B)
        if values_PGB is None:
            return None, self._by_budget([None] * len(self._budgets))
        reached_PGB = features.reached_PGB
        squared_B = torch.where(reached_PGB, (returns_PGB - values_PGB) ** 2, 0).sum((0, 1))
        errors_B = squared_B / reached_PGB.sum((0, 1)).clamp(min=1)
        return values_PGB, self._by_budget(errors_B.tolist())

    def _likelihoods(
        self, rollouts_PG: Sequence[Sequence[Rollout]], problems_P: Sequence[Problem], grades: Grades
    ) -> Likelihoods:
        task = self._recipe.task
        assert isinstance(task, ListingTask)  # checked before the run
        accepted_P = [
            accepted_ids(
                task,
                problem,
                tokenizer=self._model.tokenizer,
                reasoning=self._model.reasoning,
                max_tokens=self._answer_tokens,
            )
            for problem in problems_P
        ]
        return likelihoods(rollouts_PG, accepted_P, grades.rewards_PGBA, scorer=self._learner)

    def _by_budget(self, values_B: Sequence[T]) -> dict[str, T]:
        return dict(zip(map(str, self._budgets), values_B, strict=True))
