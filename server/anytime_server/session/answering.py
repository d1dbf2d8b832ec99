"""The second phase: sample an answer after a cut. It is never blank."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from anytime_server import events
from anytime_server.engine import Delta, Engine, GenerationRequest, Sampling
from anytime_server.errors import EmptyAnswer, EngineFailed
from anytime_server.model import Model
from anytime_server.reasoning import Cut
from anytime_server.session.request import SessionRequest
from anytime_server.speed import SpeedMeter

PRIORITY = 0
"""Before thinking."""
ATTEMPTS = 4
"""Times that an answer is sampled before giving up on getting one that is not blank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerResult:
    """An answer and what it took."""

    answer: events.AnswerDone
    sampled_tokens: int
    """Tokens that it took: its own, and those of blank ones before it."""
    cached_tokens: int
    """Of its prompt, found in the prefix cache."""
    first_sampled_at: float
    """`time.monotonic()` of the first token of the first try."""
    first_token_at: float
    """The same of the answer's own first token."""
    last_token_at: float
    """The same of its last."""


class Answering:
    """One answer of one request."""

    def __init__(
        self,
        request: SessionRequest,
        cut: Cut,
        *,
        engine: Engine,
        model: Model,
        speed: SpeedMeter,
        say: Callable[[events.Event], None],
    ) -> None:
        self._request = request
        self._cut = cut
        self._engine = engine
        self._model = model
        self._speed = speed
        self._say = say
        reasoning = model.reasoning
        self._think_ids = frozenset({reasoning.think_start_id, reasoning.think_end_id})

    async def run(self) -> AnswerResult:
        """Sample until the answer has text that can be shown.

        A model can end its turn at once, or give white space or another think-end only;
        then the tokens it gave are banned and it answers again.

        Raises:
            EmptyAnswer: it was blank every time.
        """
        cut, eos_ids = self._cut, self._model.reasoning.eos_ids
        at_tokens = cut.num_thinking_tokens
        self._say(events.AnswerStarted(index=0, at_tokens=at_tokens, provisional=False, cause=cut.cause))
        banned_ids: frozenset[int] = frozenset()
        sampled_tokens, first_sampled_at = 0, None
        for number in range(ATTEMPTS):
            attempt, pace = _Attempt(self._model, hidden_ids=self._think_ids), self._speed.pace()
            async with aclosing(self._engine.generate(self._generation(number, banned_ids))) as deltas:
                async for delta in deltas:
                    if delta.finish_reason == "abort":
                        raise EngineFailed("the engine gave up on the answer")
                    pace.tick(len(delta.token_ids))
                    if shown := attempt.push(delta):
                        self._say(events.AnswerDelta(index=0, text=shown))
            pace.report()
            sampled_tokens += len(attempt.token_ids)
            first_sampled_at = first_sampled_at or pace.first_token_at
            if attempt.text:
                break
            banned_ids |= ({*attempt.token_ids} | self._think_ids) - eos_ids
        else:
            raise EmptyAnswer(f"the model gave a blank answer {ATTEMPTS} times")
        assert first_sampled_at is not None
        assert pace.first_token_at is not None
        assert pace.last_token_at is not None
        answer = events.AnswerDone(
            index=0,
            at_tokens=at_tokens,
            provisional=False,
            text=attempt.text,
            answer_tokens=len(attempt.token_ids),
            confidence=attempt.confidence,
            finish_reason=attempt.finish_reason,
        )
        self._say(answer)
        return AnswerResult(
            answer=answer,
            sampled_tokens=sampled_tokens,
            cached_tokens=attempt.cached_tokens,
            first_sampled_at=first_sampled_at,
            first_token_at=pace.first_token_at,
            last_token_at=pace.last_token_at,
        )

    def _generation(self, number: int, banned_ids: frozenset[int]) -> GenerationRequest:
        request = self._request
        return GenerationRequest(
            id=f"{request.id}-answer-{number}",
            prompt_ids=self._cut.answer_prompt(request.prompt_ids),
            sampling=Sampling(
                max_tokens=request.budget.answer_limit(self._cut.num_thinking_tokens),
                min_tokens=1,
                temperature=request.answer_temperature,
                top_p=request.answer_top_p,
                seed=request.seed,
                stop_ids=self._model.reasoning.eos_ids,
                banned_ids=banned_ids,
            ),
            priority=PRIORITY,
        )


class _Attempt:
    """What one request to the engine gave; blank text is held back until some that is not follows."""

    def __init__(self, model: Model, *, hidden_ids: frozenset[int]) -> None:
        self.token_ids: list[int] = []
        self.text = ""
        self.cached_tokens = 0
        self.finish_reason: Literal["stop", "length"] = "stop"
        self._hidden_ids = hidden_ids | model.reasoning.eos_ids
        self._stream = model.tokenizer.text_stream()
        self._held = ""
        self._sum_probability = 0.0

    @property
    def confidence(self) -> float:
        """Mean probability of the tokens sampled."""
        return self._sum_probability / max(1, len(self.token_ids))

    def push(self, delta: Delta) -> str:
        """Take a delta in; returns the text to show for it."""
        self.token_ids.extend(delta.token_ids)
        self.cached_tokens = delta.cached_tokens
        self._sum_probability += sum(math.exp(logprob) for logprob in delta.logprobs)
        if delta.finish_reason == "length":
            self.finish_reason = "length"
        self._held += self._stream.push([i for i in delta.token_ids if i not in self._hidden_ids])
        if delta.finish_reason is not None:
            self._held += self._stream.flush()
        if not self.text and not self._held.strip():
            return ""
        shown, self._held = self._held, ""
        self.text += shown
        return shown
