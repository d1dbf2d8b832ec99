"""Rollouts: thinkings of a group of prompts, cut at every budget, and answers after each cut.

Thinking and answers are sampled by a serving engine, and the thinking is closed by the very
function that closes it when serving. Knows no rewards and no training.

Dimensions: P prompts, G thinkings per prompt, B budgets, A answers per budget.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from anytime_server.engine import Engine, EngineRequest, Generation, Sampling
from anytime_server.reasoning import Cause, ReasoningFormat, Truncation, truncate_thinking
from anytime_server.text.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One thinking and its answers."""

    prompt_ids: Sequence[int]
    """The conversation, with thinking open at its end."""
    thinking: Generation
    """Up to the largest budget; its last token may be a stop token."""
    cuts: tuple[Truncation, ...]
    """The thinking as it is closed at each budget, B of them; equal where it ended before both."""
    answers: tuple[tuple[Generation, ...], ...]
    """A answers for each of the B budgets."""

    @property
    def num_sampled_tokens(self) -> int:
        """Tokens of thinking and answers, without what was inserted."""
        answers = sum(len(answer.token_ids) for group in self.answers for answer in group)
        return len(self.thinking.token_ids) + answers


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSampler:
    """Samples rollouts on an engine."""

    engine: Engine
    reasoning: ReasoningFormat
    budgets: Sequence[int]
    """Thinking tokens after which answers are sampled, B, ascending."""
    group_size: int = 1
    """Thinkings for each prompt, G."""
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

    async def sample(self, prompts: Sequence[Sequence[int]], *, seed: str) -> list[list[Rollout]]:
        """G rollouts for each of P prompts.

        Args:
            prompts: ids, with thinking open at their end; each of them fits.
            seed: all chance comes from it.

        Raises:
            AnytimeError: the engine failed.
        """
        assert all(self.fits(len(prompt_ids)) for prompt_ids in prompts)
        seeds = _seeds(seed)
        requests = [
            self._thinking_request(prompt_ids, f"{number}-{index}", next(seeds))
            for number, prompt_ids in enumerate(prompts)
            for index in range(self.group_size)
        ]
        thinkings = await self.engine.generate_all(requests)
        cuts = [
            tuple(
                truncate_thinking(thinking.token_ids[:budget], self.reasoning, cause=Cause.BUDGET)
                for budget in self.budgets
            )
            for thinking in thinkings
        ]
        answers = iter(
            await self.engine.generate_all(
                [
                    self._answer_request(request, cut, f"{request.id}-{budget}-{index}", next(seeds))
                    for request, cuts_B in zip(requests, cuts, strict=True)
                    for budget, cut in zip(self.budgets, cuts_B, strict=True)
                    for index in range(self.answers_per_budget)
                ]
            )
        )
        rollouts = iter(
            [
                Rollout(
                    prompt_ids=request.prompt_ids,
                    thinking=thinking,
                    cuts=cuts_B,
                    answers=tuple(
                        tuple(next(answers) for _ in range(self.answers_per_budget)) for _ in self.budgets
                    ),
                )
                for request, thinking, cuts_B in zip(requests, thinkings, cuts, strict=True)
            ]
        )
        return [[next(rollouts) for _ in range(self.group_size)] for _ in prompts]

    def _thinking_request(self, prompt_ids: Sequence[int], name: str, seed: int) -> EngineRequest:
        return EngineRequest(
            id=f"rollout-{name}",
            prompt_ids=list(prompt_ids),
            sampling=Sampling(
                max_tokens=self.budgets[-1],
                temperature=self.thinking_temperature,
                top_p=self.thinking_top_p,
                seed=seed,
                stop_ids=self.reasoning.thinking_stop_ids,
            ),
        )

    def _answer_request(self, request: EngineRequest, cut: Truncation, name: str, seed: int) -> EngineRequest:
        return EngineRequest(
            id=name,
            prompt_ids=cut.answer_prompt(request.prompt_ids),
            sampling=Sampling(
                max_tokens=self.answer_tokens,
                temperature=self.answer_temperature,
                seed=seed,
                stop_ids=self.reasoning.eos_ids,
            ),
        )


def prompt_of(model: Model, question: str) -> list[int]:
    """Ids of a conversation that asks this, with thinking open at its end."""
    return model.prompt_ids([{"role": "user", "content": question}])


def _seeds(seed: str) -> Iterator[int]:
    """Seeds of requests, without end."""
    rng = random.Random(seed)
    while True:
        yield rng.getrandbits(62)
