"""The second phase: sample an answer after a truncation, again where it is blank."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass

from anytime_server.engine import EngineRequest, Sampling
from anytime_server.errors import EmptyAnswer, EngineFailed
from anytime_server.reasoning import Truncation
from anytime_server.session import events
from anytime_server.session.event_queue import EventQueue
from anytime_server.session.latency import TokenTimer
from anytime_server.session.request import CompiledRequest
from anytime_server.session.runtime import Runtime
from anytime_server.text.answer_text import AnswerText, AnswerToken

PRIORITY, EARLY_PRIORITY = 0, 1
"""Ahead of thinking: final answers, then early answers."""
ATTEMPTS = 4
"""Times that an answer is sampled before giving up on getting one that is not blank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerResult:
    """An answer and when it came; times are `time.monotonic()`."""

    answer: events.AnswerDone
    text: AnswerText
    """Its text; the tool calls of an early answer are still to be read out of it, by `finish()`."""
    tokens: tuple[AnswerToken, ...]
    """Its tokens, where they are reported."""
    cached_tokens: int
    """Prompt tokens found in the prefix cache."""
    first_sampled_at: float
    """Of the first token of the first attempt."""
    first_token_at: float
    """Of the answer's own first token."""
    last_token_at: float


class AnswerPhase:
    """One answer of one request, early or final."""

    def __init__(
        self,
        request: CompiledRequest,
        truncation: Truncation,
        *,
        index: int,
        provisional: bool,
        runtime: Runtime,
        queue: EventQueue,
        continuation: str | None = None,
    ) -> None:
        """
        Args:
            queue: where its events go.
            continuation: continuation token of the thinking, for the answer's first event.
        """
        self.sampled_tokens = 0
        """Tokens sampled until now: the answer's own, and those of blank attempts before it."""
        self.leaked_tokens = 0
        """Of those, thinking that is not shown."""
        self.tool_parser_failures = 0
        self._request = request
        self._truncation = truncation
        self._index = index
        self._provisional = provisional
        self._runtime = runtime
        self._queue = queue
        self._continuation = continuation
        self._tokens: list[AnswerToken] = []
        self._cached_tokens = 0

    async def run(self) -> AnswerResult:
        """Sample until the answer has text that can be shown.

        A model can end its turn at once, or give white space or more thinking only; then that white
        space and thinking are banned and it answers again. Where the client's stop string leaves
        nothing, the empty answer is what the client asked for.

        Raises:
            EmptyAnswer: every attempt was blank.
        """
        self._queue.emit(
            events.AnswerStarted(
                index=self._index,
                at_tokens=self._truncation.num_thinking_tokens,
                provisional=self._provisional,
                cause=None if self._provisional else self._truncation.cause,
                continuation=self._continuation,
            )
        )
        reasoning = self._runtime.model.reasoning
        think_ids = frozenset({reasoning.think_start_id, reasoning.think_end_id})
        banned_ids: frozenset[int] = frozenset()
        first_sampled_at = None
        for attempt in range(ATTEMPTS):
            text, timer = self._new_text(), self._runtime.latency.timer()
            try:
                await self._sample(attempt, banned_ids, text, timer)
            finally:
                self.leaked_tokens += text.num_leaked_tokens
                self.tool_parser_failures += text.num_tool_parser_failures
            first_sampled_at = first_sampled_at or timer.first_token_at
            if not text.is_blank:
                return self._result(text, timer, first_sampled_at)
            banned_ids |= text.shown_ids | think_ids
        raise EmptyAnswer(f"the model gave a blank answer {ATTEMPTS} times")

    def _new_text(self) -> AnswerText:
        answer = self._request.answer
        return AnswerText(
            self._runtime.model,
            stop=answer.stop,
            tool_parser=answer.tool_parser,
            reports_tokens=answer.top_logprobs is not None,
        )

    async def _sample(
        self, attempt: int, banned_ids: frozenset[int], text: AnswerText, timer: TokenTimer
    ) -> None:
        request = self._engine_request(attempt, banned_ids)
        try:
            async with aclosing(self._runtime.engine.generate(request)) as deltas:
                async for delta in deltas:
                    if delta.finish_reason == "abort":
                        raise EngineFailed("the engine gave up on the answer")
                    timer.tick(len(delta.token_ids))
                    self._cached_tokens = delta.cached_tokens
                    num_tokens = len(text.token_ids)
                    shown = text.push(delta)
                    self.sampled_tokens += len(text.token_ids) - num_tokens
                    is_last = delta.finish_reason is not None or text.stop_sequence is not None
                    if is_last and text.may_call_tools and not self._provisional:
                        shown += await asyncio.to_thread(text.finish)
                    self._emit_delta(shown, text, is_last=is_last)
                    if is_last:
                        break
        finally:
            timer.report()

    def _emit_delta(self, shown: str, text: AnswerText, *, is_last: bool) -> None:
        tokens = text.take_tokens() if shown or (is_last and text.sampled_text) else ()
        self._tokens += tokens
        if shown or tokens:
            delta = events.AnswerDelta(
                index=self._index, text=shown, tokens=tokens, provisional=self._provisional
            )
            self._queue.emit(delta)

    def _result(self, text: AnswerText, timer: TokenTimer, first_sampled_at: float | None) -> AnswerResult:
        assert first_sampled_at is not None
        assert timer.first_token_at is not None
        assert timer.last_token_at is not None
        answer = events.AnswerDone(
            index=self._index,
            at_tokens=self._truncation.num_thinking_tokens,
            provisional=self._provisional,
            text=text.text,
            tool_calls=tuple(text.tool_calls),
            answer_tokens=len(text.token_ids),
            confidence=text.confidence if self._request.answer.with_confidence else None,
            finish_reason=text.finish_reason,
            stop_sequence=text.stop_sequence,
        )
        self._queue.emit(answer)
        return AnswerResult(
            answer=answer,
            text=text,
            tokens=tuple(self._tokens),
            cached_tokens=self._cached_tokens,
            first_sampled_at=first_sampled_at,
            first_token_at=timer.first_token_at,
            last_token_at=timer.last_token_at,
        )

    def _engine_request(self, attempt: int, banned_ids: frozenset[int]) -> EngineRequest:
        request, answer = self._request, self._request.answer
        limit = request.limits.answer_limit(self._truncation.num_thinking_tokens)
        return EngineRequest(
            id=f"{request.id}-answer-{self._index}-{attempt}",
            prompt_ids=self._truncation.answer_prompt(request.prompt_ids),
            sampling=Sampling(
                max_tokens=max(1, limit - self.sampled_tokens),
                min_tokens=1,
                temperature=answer.temperature,
                top_p=answer.top_p,
                seed=request.seed,
                stop_ids=self._runtime.model.reasoning.eos_ids,
                banned_ids=banned_ids,
                logprobs=answer.with_confidence or answer.top_logprobs is not None,
                top_logprobs=answer.top_logprobs or 0,
                json_schema=answer.json_schema,
            ),
            priority=EARLY_PRIORITY if self._provisional else PRIORITY,
            cache_salt=request.cache_salt,
            adapter=request.adapter,
        )
