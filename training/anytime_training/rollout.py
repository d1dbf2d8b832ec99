"""Rollouts: thinking that is truncated at every budget, and answers after each truncation.

A serving engine samples thinking and answers, and the server's own function truncates the thinking. Knows no
rewards and no training.

Dimensions: P prompts, G rollouts per prompt, B budgets, A answers per budget.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from anytime_server.engine import Engine, EngineRequest, Generation, Sampling
from anytime_server.errors import UnusableModel
from anytime_server.reasoning import Cause, ReasoningFormat, Truncation, truncate_thinking
from anytime_server.scheduler.prompts import BUDGET_VARIABLE
from anytime_server.text.model import Model

from anytime_training.errors import RecipeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """Thinking on a prompt, and the answers after each of its truncations."""

    prompt_ids: Sequence[int]
    """The conversation, with thinking open at its end."""
    thinking: Generation
    """Thinking up to the largest budget; its last token may be a stop token."""
    truncations: tuple[Truncation, ...]
    """The thinking truncated at each of the B budgets; budgets that the thinking did not reach are equal."""
    answers: tuple[tuple[Generation, ...], ...]
    """A answers for each of the B budgets; in the same step, all rollouts have the same numbers."""

    @property
    def num_sampled_tokens(self) -> int:
        """Tokens of thinking and answers, without inserted tokens."""
        answers = sum(len(answer.token_ids) for group in self.answers for answer in group)
        return len(self.thinking.token_ids) + answers


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSampler:
    """Samples rollouts on an engine."""

    engine: Engine
    reasoning: ReasoningFormat
    budgets: Sequence[int]
    """Budgets in thinking tokens, B of them, ascending."""
    group_size: int = 1
    """Rollouts per prompt, G."""
    answers_per_budget: int = 1
    """A."""
    answer_tokens: int
    """The most sampled tokens of an answer."""
    thinking_temperature: float = 1.0
    thinking_top_p: float = 1.0
    answer_temperature: float = 1.0

    def fits(self, prompt_tokens: int) -> bool:
        """Whether a prompt leaves room in the window for the largest budget and an answer after it."""
        needed = prompt_tokens + self.budgets[-1] + self.reasoning.max_inserted_tokens + self.answer_tokens
        return needed <= self.engine.window_tokens

    async def sample(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        seed: str,
        counts_B: Sequence[int] | None = None,
        limits_P: Sequence[int] | None = None,
    ) -> list[list[Rollout]]:
        """G rollouts for each of P prompts.

        Args:
            prompts: ids, with thinking open at their end; each of them fits.
            seed: of all sampling: the same seed gives the same rollouts.
            counts_B: answers at each budget, where they are not `answers_per_budget` everywhere.
            limits_P: the most thinking tokens for each prompt, where it is not the largest budget. Budgets
                beyond it have the truncation of the limit.

        Raises:
            AnytimeError: the engine failed.
        """
        assert all(self.fits(len(prompt_ids)) for prompt_ids in prompts)
        counts = [self.answers_per_budget] * len(self.budgets) if counts_B is None else list(counts_B)
        limits = [self.budgets[-1]] * len(prompts) if limits_P is None else limits_P
        seeds = _seeds(seed)
        requests = [
            self._thinking_request(prompt_ids, f"{number}-{index}", next(seeds), limit=limit)
            for number, (prompt_ids, limit) in enumerate(zip(prompts, limits, strict=True))
            for index in range(self.group_size)
        ]
        thinking_of = await self.engine.generate_all(requests)
        truncations_of = [
            tuple(
                truncate_thinking(thinking.token_ids[:budget], self.reasoning, cause=Cause.BUDGET)
                for budget in self.budgets
            )
            for thinking in thinking_of
        ]
        answers = iter(
            await self.engine.generate_all(
                [
                    self._answer_request(request, truncation, f"{request.id}-{budget}-{index}", next(seeds))
                    for request, truncations_B in zip(requests, truncations_of, strict=True)
                    for budget, truncation, count in zip(self.budgets, truncations_B, counts, strict=True)
                    for index in range(count)
                ]
            )
        )
        rollouts = iter(
            [
                Rollout(
                    prompt_ids=request.prompt_ids,
                    thinking=thinking,
                    truncations=truncations_B,
                    answers=tuple(tuple(next(answers) for _ in range(count)) for count in counts),
                )
                for request, thinking, truncations_B in zip(
                    requests, thinking_of, truncations_of, strict=True
                )
            ]
        )
        return [[next(rollouts) for _ in range(self.group_size)] for _ in prompts]

    def _thinking_request(
        self, prompt_ids: Sequence[int], name: str, seed: int, *, limit: int
    ) -> EngineRequest:
        return EngineRequest(
            id=f"rollout-{name}",
            prompt_ids=list(prompt_ids),
            sampling=Sampling(
                max_tokens=limit,
                temperature=self.thinking_temperature,
                top_p=self.thinking_top_p,
                seed=seed,
                stop_ids=self.reasoning.thinking_stop_ids,
            ),
        )

    def _answer_request(
        self, request: EngineRequest, truncation: Truncation, name: str, seed: int
    ) -> EngineRequest:
        return EngineRequest(
            id=name,
            prompt_ids=truncation.answer_prompt(request.prompt_ids),
            sampling=Sampling(
                max_tokens=self.answer_tokens,
                temperature=self.answer_temperature,
                seed=seed,
                stop_ids=self.reasoning.eos_ids,
            ),
        )


def require_one_think_end(model: Model) -> None:
    """Check that the engine can see the think-end, which must be one token.

    Raises:
        UnusableModel: the model does not think, or ends its thinking with text of several tokens.
    """
    if model.reasoning.think_end_id is None:
        raise UnusableModel(
            f"{model.folder} cannot be trained: its thinking does not end with one token of its vocabulary",
            field="model",
        )


def prompt_of(model: Model, question: str, *, budget_tokens: int | None = None) -> list[int]:
    """Ids of a conversation with this one user message, with thinking open at its end.

    Args:
        budget_tokens: the budget that the chat template shows the model, if it does (`require_shown_budget`).
    """
    variables = {} if budget_tokens is None else {BUDGET_VARIABLE: budget_tokens}
    return model.prompt([{"role": "user", "content": question}], variables=variables).ids


def require_shown_budget(model: Model) -> None:
    """Check that the chat template shows the model its budget.

    Raises:
        RecipeError: it does not.
    """
    if BUDGET_VARIABLE not in model.tokenizer.chat.variables:
        raise RecipeError(
            f"rollout.budget_in_prompt: the chat template of {model.folder} has no variable {BUDGET_VARIABLE}"
        )


def _seeds(seed: str) -> Iterator[int]:
    """An endless sequence of seeds, one for each request."""
    rng = random.Random(seed)
    while True:
        yield rng.getrandbits(62)
