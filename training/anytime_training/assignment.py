"""The credit assignment of a run: what it needs beside a step's rewards, from the task and from the network.

Knows the settings of the algorithm and the learner, but no engine. `credit` has the pure part.

Dimensions: P prompts, G rollouts per prompt, B budgets, A answers per budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anytime_server.text.model import Model

from anytime_training.config.brpo import BrpoRecipe
from anytime_training.credit import credit_trees
from anytime_training.learner import Learner
from anytime_training.likelihood import Likelihoods, accepted_ids, likelihoods
from anytime_training.reward import Grades
from anytime_training.rollout import Rollout
from anytime_training.tasks import ListingTask, Problem
from anytime_training.tree import Tree


class CreditAssignment:
    """From a step's graded rollouts to trees with advantages."""

    def __init__(self, recipe: BrpoRecipe, *, model: Model, learner: Learner, answer_tokens: int) -> None:
        """
        Args:
            answer_tokens: the most sampled tokens of an answer.
        """
        self._recipe = recipe
        self._model = model
        self._learner = learner
        self._answer_tokens = answer_tokens

    def trees(
        self, rollouts_PG: Sequence[Sequence[Rollout]], problems_P: Sequence[Problem], grades: Grades
    ) -> tuple[list[list[Tree]], dict[str, Any]]:
        """Trees of each prompt's rollouts, and metrics of this step.

        The learner must still have the weights that the rollouts were sampled with.
        """
        recipe, metrics = self._recipe, dict[str, Any]()
        found: Likelihoods | None = None
        if recipe.credit.needs_likelihoods:
            found = self._likelihoods(rollouts_PG, problems_P, grades)
            metrics["likelihood_at"] = self._by_budget(found.rewards_PGB.mean((0, 1)).tolist())
            metrics["unlisted_at"] = self._by_budget(found.rest_PGBA.mean((0, 1, 3)).tolist())
        trees_PG = credit_trees(
            rollouts_PG,
            grades.rewards_PGBA,
            recipe.rollout.trained_budgets,
            recipe.credit,
            likelihoods=found,
            keep_all=recipe.loss.kl_coefficient > 0,
        )
        return trees_PG, metrics

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

    def _by_budget(self, values_B: list[float]) -> dict[str, float]:
        return dict(zip(map(str, self._recipe.rollout.trained_budgets), values_B, strict=True))
