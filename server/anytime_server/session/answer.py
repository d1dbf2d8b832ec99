"""The second phase: sample an answer after a cut. It is never blank."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from anytime_server.engine import Engine, EngineRequest, Sampling
from anytime_server.errors import EmptyAnswer, EngineFailed
from anytime_server.reasoning import Truncation
from anytime_server.session import events
from anytime_server.session.answer_text import AnswerText
from anytime_server.session.latency import LatencyEstimator, Pace
from anytime_server.session.request import CompiledRequest
from anytime_server.text.model import Model

PRIORITY, PROVISIONAL_PRIORITY = 0, 1
"""Before thinking: last answers, then provisional ones."""
ATTEMPTS = 4
"""Times that an answer is sampled before giving up on getting one that is not blank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerResult:
    """An answer and when it came."""

    answer: events.AnswerDone
    tokens: tuple[events.AnswerToken, ...]
    """Its tokens, where they are to be reported."""
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
        request: CompiledRequest,
        cut: Truncation,
        *,
        index: int,
        provisional: bool,
        engine: Engine,
        model: Model,
        speed: LatencyEstimator,
        say: Callable[[events.Event], None],
    ) -> None:
        self.sampled_tokens = 0
        """Tokens that it took so far: its own, and those of blank ones before it."""
        self.leaked_tokens = 0
        """Of those, thinking that is not shown."""
        self._request = request
        self._cut = cut
        self._index = index
        self._provisional = provisional
        self._engine = engine
        self._model = model
        self._speed = speed
        self._say = say
        self._tokens: list[events.AnswerToken] = []

    async def run(self) -> AnswerResult:
        """Sample until the answer has text that can be shown.

        A model can end its turn at once, or give white space or more thinking only; then that white
        space and thinking are banned and it answers again. Where the client's stop string leaves
        nothing, that is what the client asked for.

        Raises:
            EmptyAnswer: it was blank every time.
        """
        cut = self._cut
        cause = None if self._provisional else cut.cause
        at_tokens = cut.num_thinking_tokens
        self._say(
            events.AnswerStarted(
                index=self._index, at_tokens=at_tokens, provisional=self._provisional, cause=cause
            )
        )
        reasoning = self._model.reasoning
        think_ids = frozenset({reasoning.think_start_id, reasoning.think_end_id})
        banned_ids: frozenset[int] = frozenset()
        first_sampled_at = None
        for number in range(ATTEMPTS):
            text, pace = AnswerText(self._request.answer, self._model), self._speed.pace()
            try:
                await self._sample(number, banned_ids, text, pace)
            finally:
                self.leaked_tokens += text.num_leaked_tokens
            first_sampled_at = first_sampled_at or pace.first_token_at
            if text.text or text.stop_sequence is not None:
                break
            banned_ids |= text.shown_ids | think_ids
        else:
            raise EmptyAnswer(f"the model gave a blank answer {ATTEMPTS} times")
        assert first_sampled_at is not None
        assert pace.first_token_at is not None
        assert pace.last_token_at is not None
        answer = events.AnswerDone(
            index=self._index,
            at_tokens=at_tokens,
            provisional=self._provisional,
            text=text.text,
            answer_tokens=len(text.token_ids),
            confidence=text.confidence,
            finish_reason=text.finish_reason,
            stop_sequence=text.stop_sequence,
        )
        self._say(answer)
        return AnswerResult(
            answer=answer,
            tokens=tuple(self._tokens),
            cached_tokens=text.cached_tokens,
            first_sampled_at=first_sampled_at,
            first_token_at=pace.first_token_at,
            last_token_at=pace.last_token_at,
        )

    async def _sample(self, number: int, banned_ids: frozenset[int], text: AnswerText, pace: Pace) -> None:
        generation = self._generation(number, banned_ids)
        try:
            async with aclosing(self._engine.generate(generation)) as deltas:
                async for delta in deltas:
                    if delta.finish_reason == "abort":
                        raise EngineFailed("the engine gave up on the answer")
                    pace.tick(len(delta.token_ids))
                    self.sampled_tokens += len(delta.token_ids)
                    shown = text.push(delta)
                    is_over = delta.finish_reason is not None or text.stop_sequence is not None
                    tokens = text.take_tokens() if shown or (is_over and text.text) else ()
                    self._tokens += tokens
                    if shown or tokens:
                        self._say(
                            events.AnswerDelta(
                                index=self._index, text=shown, tokens=tokens, provisional=self._provisional
                            )
                        )
                    if text.stop_sequence is not None:
                        break
        finally:
            pace.report()

    def _generation(self, number: int, banned_ids: frozenset[int]) -> EngineRequest:
        request, answer = self._request, self._request.answer
        limit = request.budget.answer_limit(self._cut.num_thinking_tokens)
        return EngineRequest(
            id=f"{request.id}-answer-{self._index}-{number}",
            prompt_ids=self._cut.answer_prompt(request.prompt_ids),
            sampling=Sampling(
                max_tokens=max(1, limit - self.sampled_tokens),
                min_tokens=1,
                temperature=answer.temperature,
                top_p=answer.top_p,
                seed=request.seed,
                stop_ids=self._model.reasoning.eos_ids,
                banned_ids=banned_ids,
                logprobs=answer.tells_confidence or answer.top_logprobs is not None,
                top_logprobs=answer.top_logprobs or 0,
                json_schema=answer.json_schema,
            ),
            priority=PROVISIONAL_PRIORITY if self._provisional else PRIORITY,
        )
