"""The second phase: sample an answer after a truncation, again where it is blank or does not match."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from anytime_server.engine import Delta, EngineRequest, Sampling
from anytime_server.engine.resuming import seed_after
from anytime_server.errors import EmptyAnswer, EngineFailed
from anytime_server.reasoning import Truncation
from anytime_server.session import events
from anytime_server.session.event_queue import EventQueue
from anytime_server.session.latency import TokenTimer
from anytime_server.session.request import CompiledRequest
from anytime_server.session.runtime import Runtime
from anytime_server.text.answer_text import AnswerText, AnswerToken
from anytime_server.text.model import Model

PRIORITY, EARLY_PRIORITY = 0, 1
"""Ahead of thinking: final answers, then early answers."""
ATTEMPTS = 4
"""Times that an answer is sampled before giving up on one that is not blank and matches its schema."""
AGAIN_TEMPERATURE = 0.7
"""The least temperature after an answer that does not match: the likeliest tokens would come again."""


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

    @property
    def is_whole(self) -> bool:
        """Whether the answer ended by itself: an early answer has a lower limit than the final answer."""
        return self.answer.finish_reason != "length"


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
        may_think: bool = False,
    ) -> None:
        """
        Args:
            queue: where its events go.
            continuation: continuation token of the thinking, for the answer's first event.
            may_think: whether the model may begin to think again; otherwise the answer goes on without that.
        """
        self.sampled_tokens = 0
        """Tokens sampled until now: the answer's own, and those of attempts before it."""
        self.leaked_tokens = 0
        """Of those, thinking that is not shown."""
        self.tool_parser_failures = 0
        self._request = request
        self._truncation = truncation
        self._prompt_ids = request.prompt_ids
        self._index = index
        self._provisional = provisional
        self._runtime = runtime
        self._queue = queue
        self._continuation = continuation
        self._may_think = may_think
        self._again = 0
        """Times that the model has thought again."""
        self._text: AnswerText | None = None
        """Text before the model began to think again."""
        self._sampled_ids: list[int] = []
        """Tokens of the answer that it goes on from, without that thinking."""
        self._held: list[events.AnswerDelta] = []
        """Events held back until the answer is known to match."""
        self._dropped_tokens = 0
        """Tokens of attempts that did not match."""
        self._is_opened = request.prompt.ends_within is not None and request.answer.tool_parser is not None
        """Whether the answer was opened even if the model may call tools."""
        self._tokens: list[AnswerToken] = []
        self._cached_tokens = 0
        self._is_prompt_scored = False
        self._first_sampled_at: float | None = None
        self._first_token_at: float | None = None

    async def run(self) -> AnswerResult | list[int]:
        """Sample until the answer has text that can be shown.

        A model can end its turn at once, or give white space only; then that white space is banned and it
        answers again. Where the client's stop string leaves nothing, the empty answer is what the client
        asked for.

        Returns:
            The answer, or the tokens up to a think-start with which the model begins to think again; then
            `resume()` goes on after that thinking.

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
        return await self._run()

    async def resume(
        self, truncation: Truncation, *, prompt_ids: list[int], may_think: bool
    ) -> AnswerResult | list[int]:
        """Go on after the model has thought again; as `run()`.

        Args:
            prompt_ids: all tokens before that thinking.
        """
        self._truncation, self._prompt_ids, self._may_think = truncation, prompt_ids, may_think
        self._again += 1
        return await self._run()

    async def _run(self) -> AnswerResult | list[int]:
        reasoning = self._runtime.model.reasoning
        banned_ids: frozenset[int] = frozenset()
        for attempt in range(ATTEMPTS):
            text = self._text or self._new_text()
            num_before, timer = len(text.token_ids), self._runtime.latency.timer()
            num_leaked, num_failures = text.num_leaked_tokens, text.num_tool_parser_failures
            try:
                await self._sample(self._engine_request(attempt, banned_ids, text), text, timer)
            finally:
                self.leaked_tokens += text.num_leaked_tokens - num_leaked
                self.tool_parser_failures += text.num_tool_parser_failures - num_failures
            self._first_sampled_at = self._first_sampled_at or timer.first_token_at
            sampled_ids = text.token_ids[num_before:]
            if text.has_begun_to_think or (sampled_ids and sampled_ids[-1] in self._think_start_ids):
                self._text = text
                text.end_thinking()
                if text.sampled_text:
                    self._first_token_at = self._first_token_at or timer.first_token_at
                if self._may_think:
                    return sampled_ids
                # No budget is left: the answer goes on as if the model had not begun to think.
                banned_ids |= self._think_start_ids
                self._sampled_ids += self._without_thinking(sampled_ids, text, is_first=attempt == 0)
                if text.is_blank or self._max_tokens > 0:
                    continue
                text.finish_reason = "length"
            if not text.is_blank or (attempt + 1 == ATTEMPTS and self._may_be_blank):
                if await self._is_final(text, timer, attempt):
                    return self._result(text, timer)
                self._text, self._sampled_ids = None, []
                self._dropped_tokens += len(text.token_ids)
                self._held.clear()
                self._tokens.clear()
                continue
            self._text, self._sampled_ids = None, self._opener(text)
            banned_ids |= text.shown_ids | text.header_ids
            banned_ids |= self._think_start_ids | _known(reasoning.think_end_id)
        raise EmptyAnswer(f"the model gave a blank answer {ATTEMPTS} times")

    @property
    def _may_be_blank(self) -> bool:
        """Whether a blank text can be all that the client's own expression or grammar has."""
        constraint = self._request.answer.constraint
        return constraint is not None and constraint.kind in ("regex", "grammar")

    async def _is_final(self, text: AnswerText, timer: TokenTimer, attempt: int) -> bool:
        """Whether an answer stays: it matches what it must, or was truncated, or there is no other attempt.

        An answer that does not match ends as if it were truncated, so that no client takes it for whole.
        """
        answer = self._request.answer
        if answer.check is None or text.finish_reason == "length":
            return True
        fault = await answer.check.fault(text.sampled_text, answer.tool_parser, self._runtime.engine)
        if fault is None:
            return True
        num_tokens, is_last = len(text.token_ids), attempt + 1 == ATTEMPTS
        if fault.is_certain and not is_last and self._max_tokens >= num_tokens and self._is_time(timer):
            return False
        if fault.is_certain:
            text.finish_reason = "length"
        if not self._provisional:
            self._request.context.ignored.note_keyword(fault.field)
        return True

    def _is_time(self, timer: TokenTimer) -> bool:
        """Whether another attempt would end before the deadline."""
        deadline_s = self._request.limits.deadline_s
        if deadline_s is None or timer.first_token_at is None:
            return True
        now = time.monotonic()
        return now + (now - timer.first_token_at) < self._request.arrived_at + deadline_s

    def _new_text(self) -> AnswerText:
        answer = self._request.answer
        return AnswerText(
            self._runtime.model,
            stop=answer.stop,
            stop_ids=answer.stop_ids(self._runtime.model.reasoning.eos_ids),
            tool_parser=answer.tool_parser,
            keeps_special_tokens=not answer.skip_special_tokens,
            reports_tokens=answer.top_logprobs is not None,
            begun=self._truncation.answer_text,
            is_opened=self._is_opened,
            may_still_think=self._truncation.is_truncated,
            ends_within=self._request.prompt.ends_within,
            is_constrained=answer.constraint is not None,
        )

    def _without_thinking(self, sampled_ids: list[int], text: AnswerText, *, is_first: bool) -> list[int]:
        """Tokens of the answer to go on from, where the last of them open thinking."""
        if sampled_ids[-1] in self._think_start_ids:
            return sampled_ids[:-1]
        # An opener of several tokens cannot be banned: the thinking is closed, the second time for good.
        reasoning = self._runtime.model.reasoning
        may_call_tools = is_first and self._request.answer.calls_in_own_syntax
        text.end_thinking(is_opened=not may_call_tools)
        opener_ids = reasoning.opener_of_answer(may_call_tools=may_call_tools)
        return [*sampled_ids, *reasoning.think_end_ids, *opener_ids]

    def _opener(self, text: AnswerText) -> list[int]:
        """Tokens that open an answer in channels which might have been a call, after a blank one."""
        if not text.header_ids or not self._request.answer.calls_in_own_syntax:
            return []
        self._is_opened = True
        return list(self._runtime.model.reasoning.rest_of_answer_start)

    async def _sample(self, request: EngineRequest, text: AnswerText, timer: TokenTimer) -> None:
        try:
            async with aclosing(self._runtime.engine.generate(request)) as deltas:
                async for delta in deltas:
                    if delta.finish_reason == "abort":
                        raise EngineFailed("the engine gave up on the answer")
                    timer.tick(len(delta.token_ids))
                    if request.sampling.prompt_logprobs and not self._is_prompt_scored:
                        self._is_prompt_scored = True
                        self._queue.emit(_scored(request.prompt_ids, delta, self._runtime.model))
                    self._cached_tokens = delta.cached_tokens
                    num_tokens = len(text.token_ids)
                    shown = text.push(delta)
                    self.sampled_tokens += len(text.token_ids) - num_tokens
                    is_last = delta.finish_reason is not None or text.has_ended or text.has_begun_to_think
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
                index=self._index,
                text=shown,
                tokens=tokens,
                provisional=self._provisional,
                sampled_tokens=self.sampled_tokens,
            )
            if self._request.answer.check is None:
                self._queue.emit(delta)
            else:
                self._held.append(delta)

    def _result(self, text: AnswerText, timer: TokenTimer) -> AnswerResult:
        first_token_at = self._first_token_at or timer.first_token_at
        assert self._first_sampled_at is not None
        assert first_token_at is not None
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
        for delta in self._held:
            self._queue.emit(delta)
        self._queue.emit(answer)
        return AnswerResult(
            answer=answer,
            text=text,
            tokens=tuple(self._tokens),
            cached_tokens=self._cached_tokens,
            first_sampled_at=self._first_sampled_at,
            first_token_at=first_token_at,
            last_token_at=timer.last_token_at,
        )

    @property
    def _think_start_ids(self) -> frozenset[int]:
        """Tokens with which the model begins to think again; none in a constrained answer, or in raw text."""
        request = self._request
        if request.answer.constraint is not None or request.prompt.ends_within == "text":
            return frozenset()
        return _known(self._runtime.model.reasoning.think_start_id)

    @property
    def _stop_ids(self) -> frozenset[int]:
        answer, reasoning = self._request.answer, self._runtime.model.reasoning
        return answer.stop_ids(reasoning.eos_ids) | self._think_start_ids

    @property
    def _next_prompt_ids(self) -> list[int]:
        return [*self._truncation.answer_prompt(self._prompt_ids), *self._sampled_ids]

    @property
    def _max_tokens(self) -> int:
        """Tokens that may still be sampled; 0 or less where the limit or the window is used up."""
        limits, at_tokens = self._request.limits, self._truncation.num_thinking_tokens
        limit = limits.early_answer_limit(at_tokens) if self._provisional else limits.answer_limit(at_tokens)
        room = self._runtime.engine.window_tokens - len(self._next_prompt_ids)
        return min(limit - self.sampled_tokens, room)

    def _token_fields(self) -> dict[str, Any]:
        fields = self._request.answer.sampling.token_fields()
        if self._dropped_tokens:
            fields["temperature"] = max(fields.get("temperature", 1.0), AGAIN_TEMPERATURE)
        return fields

    def _engine_request(self, attempt: int, banned_ids: frozenset[int], text: AnswerText) -> EngineRequest:
        request, answer = self._request, self._request.answer
        max_tokens = max(1, self._max_tokens)
        least_tokens = 1 if request.prompt.ends_within is None else 0
        least_tokens = max(least_tokens, answer.sampling.min_tokens or 0)
        if not self._provisional:
            num_sampled = self._truncation.num_thinking_tokens + self.sampled_tokens
            least_tokens = max(least_tokens, request.least_tokens - num_sampled)
        return EngineRequest(
            id=f"{request.id}-answer-{self._index}-{attempt}{f'-{self._again}' if self._again else ''}",
            prompt_ids=self._next_prompt_ids,
            sampling=Sampling(
                **self._token_fields(),
                max_tokens=max_tokens,
                min_tokens=min(max_tokens, least_tokens),
                seed=seed_after(request.seed, self._dropped_tokens + len(text.token_ids)),
                stop_ids=self._stop_ids,
                banned_ids=banned_ids,
                logprobs=answer.with_confidence or answer.top_logprobs is not None,
                top_logprobs=answer.top_logprobs or 0,
                prompt_logprobs=answer.scores_prompt,
                constraint=answer.constraint,
            ),
            priority=EARLY_PRIORITY if self._provisional else PRIORITY,
            cache_salt=request.cache_salt,
            adapter=request.adapter,
        )


def _scored(prompt_ids: list[int], delta: Delta, model: Model) -> events.PromptScored:
    decode = partial(model.tokenizer.decode, keeps_special=True)
    first, *others = prompt_ids
    tokens = [
        AnswerToken(
            text=decode([token_id]),
            logprob=logprob,
            top=tuple((decode([other]), likelihood) for other, likelihood in top),
        )
        for token_id, (logprob, top) in zip(others, delta.prompt_logprobs, strict=True)
    ]
    return events.PromptScored(first=decode([first]), tokens=tuple(tokens))


def _known(token_id: int | None) -> frozenset[int]:
    return frozenset() if token_id is None else frozenset({token_id})
