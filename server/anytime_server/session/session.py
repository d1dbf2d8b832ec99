"""The session: both phases of one request, its controls, and its events."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from typing import Literal

from anytime_server.auth import Cost
from anytime_server.errors import AlreadyAnswering, AnytimeError, SessionCancelled
from anytime_server.reasoning import Cause, Truncation
from anytime_server.session import events
from anytime_server.session.answer import AnswerPhase, AnswerResult
from anytime_server.session.early_answers import EarlyAnswers
from anytime_server.session.event_queue import EventQueue
from anytime_server.session.lease import Lease, SlotKind
from anytime_server.session.reading import read_sessions
from anytime_server.session.request import CompiledRequest
from anytime_server.session.runtime import Runtime
from anytime_server.session.thinking import ThinkingPhase
from anytime_server.session.timeline import Timeline

logger = logging.getLogger(__name__)


class Session:
    """Runs one request as a task of its own, which emits events for `read()`.

    The reader may leave at any time; then everything the session owns in the engine is
    aborted. The task is the session's own so that whatever cancelled the reader cannot
    interrupt this clean-up; the task itself is cancelled only once.
    """

    def __init__(self, request: CompiledRequest, runtime: Runtime, lease: Lease | None = None) -> None:
        """
        Args:
            lease: the session's share of the engine; by default it shares with nobody.
        """
        self.request = request
        self.runtime = runtime
        self.lease = lease or Lease()
        self.queue = EventQueue()
        self.phase: Literal["waiting", "thinking", "answering", "ended"] = "waiting"
        self.timeline = Timeline(arrived_at=request.arrived_at, opened_at=time.monotonic())
        self.done: events.Done | None = None
        """The last event, if all went well."""
        self.error: AnytimeError | None = None
        """The error that ended it, if any did. Neither is set where no reader was left."""
        self.answer: AnswerResult | None = None
        """The final answer, once it is there."""
        self.answer_tokens = 0
        """Tokens sampled for the final answer, blank attempts included; 0 for an adopted early answer."""
        self.leaked_tokens = 0
        """Answer tokens that were thinking."""
        self.tool_parser_failures = 0
        """Times that the tool parser failed on an answer."""
        self._indices = itertools.count()
        self._early = EarlyAnswers(request, runtime=runtime, queue=self.queue, indices=self._indices)
        self._thinking = ThinkingPhase(
            request, runtime=runtime, lease=self.lease, early=self._early, queue=self.queue
        )
        self._num_before = 0
        """Thinking tokens of earlier blocks, where the model began to think again in its answer."""
        self._inserted_tokens = 0
        self._cached_tokens: int | None = None
        """Prompt tokens that the first block of thinking found in the prefix cache."""
        self._continuation: str | None = None
        self._only_answers = False
        self._task: asyncio.Task[events.Done] | None = None
        self._is_ending = False
        self._cancelled_by: AnytimeError | None = None
        self._over = asyncio.Event()

    def start(self) -> None:
        """Begin."""
        self.queue.emit(self._started())
        self._task = asyncio.create_task(self._run(), name=self.request.id)
        # Not within the task: a task that is cancelled before its first step runs nothing of itself.
        self._task.add_done_callback(self._end)

    @property
    def model_name(self) -> str:
        """The name of the model, or of its adapter, that the client gets."""
        return self.request.adapter or self.runtime.model.name

    @property
    def thinking_tokens(self) -> int:
        """Thinking tokens sampled until now."""
        return self._num_before + len(self._thinking.token_ids)

    @property
    def early_tokens(self) -> int:
        """Tokens sampled for early answers that have ended, dropped ones included."""
        return self._early.sampled_tokens

    @property
    def cost(self) -> Cost:
        """Its cost for the API key until now."""
        thinking_tokens = self.thinking_tokens
        return Cost(
            thinking_tokens=thinking_tokens, tokens=thinking_tokens + self.answer_tokens + self.early_tokens
        )

    def answer_now(self, cause: Cause = Cause.CLIENT) -> int:
        """Truncate the thinking and answer.

        Returns:
            Thinking tokens that the answer is based on.

        Raises:
            AlreadyAnswering: the thinking has stopped already.
        """
        self._require_thinking()
        self._thinking.truncate(cause)
        return self.thinking_tokens

    def extend(self, tokens: int) -> int:
        """Raise the budget by `tokens`, as far as there is room.

        Returns:
            The budget from now on, in tokens.

        Raises:
            AlreadyAnswering: the thinking has stopped already.
        """
        self._require_thinking()
        return self._num_before + self._thinking.extend(tokens)

    def _require_thinking(self) -> None:
        thinking = self._thinking
        has_stopped = thinking.is_truncated or thinking.has_ended or self._only_answers
        if has_stopped or self._is_ending or self.phase in ("answering", "ended"):
            raise AlreadyAnswering(f"session {self.request.id} is answering already, or ending")

    def cancel(self, error: AnytimeError | None = None) -> None:
        """End with a `Failed` event; nothing happens if the session has ended.

        Args:
            error: what the event reports, if not that the session was cancelled.
        """
        if not self._is_ending:
            self._cancelled_by = error or SessionCancelled("the session was cancelled")
        self.abandon()

    def abandon(self) -> None:
        """End without an event: no reader is left. Nothing happens if the session has ended."""
        if self._task is not None and not self._is_ending:
            self._is_ending = True
            self._task.cancel()

    async def ended(self) -> None:
        """Wait until all is over, however it ends."""
        if self._task is not None:
            await self._over.wait()

    async def read(self, *, idle_s: float | None = None) -> AsyncGenerator[list[events.Event], None]:
        """Batches of its events, as `read_sessions()` gives them. Closing it abandons the session."""
        async with aclosing(read_sessions([self], idle_s=idle_s)) as batches:
            async for batch in batches:
                yield [event for _, event in batch]

    async def _run(self) -> events.Done:
        lease, thinking = self.lease, self._thinking
        async with AsyncExitStack() as held:
            if not (
                thinking.needs_slot
                and await thinking.wait(held.enter_async_context(lease.slot(SlotKind.THINKING)))
            ):
                self._only_answers = True
                kind = SlotKind.LATE_ANSWER if thinking.is_truncated else SlotKind.ANSWER
                await held.enter_async_context(lease.slot(kind))
            self.phase = "thinking"
            self.timeline.slot_at = time.monotonic()
            try:
                truncation, result, answer_tokens = await self._think_and_answer()
            finally:
                await self._early.close()
                self.leaked_tokens += self._early.leaked_tokens
                self.tool_parser_failures += self._early.tool_parser_failures
        return self._done(truncation, result, answer_tokens=answer_tokens)

    async def _think_and_answer(self) -> tuple[Truncation, AnswerResult, int]:
        """Both phases; the number is that of the tokens sampled for the answer, blank attempts included."""
        thinking, early, timeline = self._thinking, self._early, self.timeline
        cause = await thinking.run()
        self._cached_tokens = thinking.cached_tokens
        self.phase = "answering"
        stopped_at = timeline.stopped_at = thinking.due_at or time.monotonic()
        timeline.first_token_at = thinking.timer.first_token_at
        early.drop_probes()
        truncation = self._truncate(cause)
        if truncation.cause is Cause.STABLE and early.agreed.done() and early.agreed.result().is_whole:
            result = await self._adopt(early.agreed.result())
            answer_tokens = result.answer.answer_tokens
        else:
            first = truncation
            truncation, result = await self._sample_answer(truncation)
            answer_tokens = self.answer_tokens
            if truncation is first:
                self._record_latency(truncation, result, cut_to_answer_s=result.first_token_at - stopped_at)
        timeline.first_token_at = timeline.first_token_at or result.first_sampled_at
        timeline.answer_at = result.first_token_at
        self.answer = result
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds_left()):
                await early.finish()
        return truncation, result, answer_tokens

    async def _sample_answer(self, truncation: Truncation) -> tuple[Truncation, AnswerResult]:
        """The final answer, and the last truncation before it: the model may think again in its answer."""
        phase = self._final_answer(truncation)
        try:
            sampled = await phase.run()
            prompt_ids = self.request.prompt_ids
            while not isinstance(sampled, AnswerResult):
                prompt_ids = [*truncation.answer_prompt(prompt_ids), *sampled]
                truncation = await self._think_again(prompt_ids)
                sampled = await phase.resume(
                    truncation, prompt_ids=prompt_ids, may_think=self._may_think_again(truncation)
                )
        finally:
            self.answer_tokens = phase.sampled_tokens
            self.leaked_tokens += phase.leaked_tokens
            self.tool_parser_failures += phase.tool_parser_failures
        return truncation, sampled

    def _may_think_again(self, truncation: Truncation) -> bool:
        """Whether a think-start in the answer opens more thinking: if the budget is not used up."""
        is_ended = truncation.cause is Cause.NATURAL and not self._only_answers
        left = self._thinking.budget_tokens - len(self._thinking.token_ids)
        return is_ended and left > 0 and self.request.answer.constraint is None

    async def _think_again(self, prompt_ids: list[int]) -> Truncation:
        """Think on what the budget leaves, after a think-start in the answer."""
        thinking, runtime = self._thinking, self.runtime
        request = self.request.thinking_again(
            prompt_ids,
            budget_tokens=thinking.budget_tokens - len(thinking.token_ids),
            window_tokens=runtime.engine.window_tokens,
            reasoning=runtime.model.reasoning,
        )
        self._num_before = self.thinking_tokens
        self._thinking = ThinkingPhase(
            request,
            runtime=runtime,
            lease=self.lease,
            early=EarlyAnswers(request, runtime=runtime, queue=self.queue, indices=self._indices),
            queue=self.queue,
            num_before=self._num_before,
        )
        self.phase = "thinking"
        cause = await self._thinking.run()
        self.phase = "answering"
        truncation = request.truncate(self._thinking.token_ids, cause, runtime.model)
        self._inserted_tokens += len(truncation.inserted_ids)
        num_prompt = len(self.request.prompt_ids)
        if prompt_ids[:num_prompt] == self.request.prompt_ids:
            self._continuation = self._signed(
                [*prompt_ids[num_prompt:], *truncation.thinking_ids], truncation.cause
            )
        return dataclasses.replace(truncation, num_thinking_tokens=self.thinking_tokens)

    def _truncate(self, cause: Cause) -> Truncation:
        request = self.request
        truncation = request.truncate(self._thinking.token_ids, cause, self.runtime.model)
        self._continuation = self._signed(truncation.thinking_ids, truncation.cause)
        self._inserted_tokens = len(truncation.inserted_ids)
        return truncation

    def _signed(self, thinking_ids: Sequence[int], cause: Cause) -> str:
        """A continuation token; `thinking_ids` are all ids after the prompt."""
        prompt_ids = self.request.signed_prompt_ids or self.request.prompt_ids
        return self.runtime.signer.sign(prompt_ids, thinking_ids, ended=cause is Cause.NATURAL)

    def _final_answer(self, truncation: Truncation) -> AnswerPhase:
        return AnswerPhase(
            self.request,
            truncation,
            index=next(self._indices),
            provisional=False,
            runtime=self.runtime,
            queue=self.queue,
            continuation=self._continuation,
            may_think=self._may_think_again(truncation),
        )

    async def _adopt(self, agreed: AnswerResult) -> AnswerResult:
        """Make the early answer that the probes agree on the final answer; it is not sampled again."""
        index, now = next(self._indices), time.monotonic()
        text = agreed.text
        if text.may_call_tools:
            await asyncio.to_thread(text.finish)
            self.tool_parser_failures += text.num_tool_parser_failures
        answer = dataclasses.replace(
            agreed.answer, index=index, provisional=False, text=text.text, tool_calls=tuple(text.tool_calls)
        )
        self.queue.emit(
            events.AnswerStarted(
                index=index,
                at_tokens=answer.at_tokens,
                provisional=False,
                cause=Cause.STABLE,
                continuation=self._continuation,
            )
        )
        self.queue.emit(
            events.AnswerDelta(index=index, text=answer.text, tokens=agreed.tokens, provisional=False)
        )
        self.queue.emit(answer)
        return dataclasses.replace(agreed, answer=answer, first_token_at=now, last_token_at=now)

    def _record_latency(
        self, truncation: Truncation, result: AnswerResult, *, cut_to_answer_s: float
    ) -> None:
        request, latency = self.request, self.runtime.latency
        latency.record_answer(
            answer_tokens=result.answer.answer_tokens, structured=request.answer.is_structured
        )
        uncached_tokens = 0
        if self._thinking.timer.first_token_at is None:
            uncached_tokens = len(truncation.answer_prompt(request.prompt_ids)) - result.cached_tokens
        latency.record_switch(
            seconds=cut_to_answer_s, uncached_tokens=uncached_tokens, at=result.first_token_at
        )

    def _seconds_left(self) -> float | None:
        deadline_s = self.request.limits.deadline_s
        if deadline_s is None:
            return None
        return max(0.0, self.request.arrived_at + deadline_s - time.monotonic())

    def _end(self, task: asyncio.Task[events.Done]) -> None:
        """The task is over: emit exactly one of `Done` and `Failed`, unless no reader is left."""
        unexpected = AnytimeError("an unexpected error ended the session")
        if task.cancelled():
            self.error = self._cancelled_by if self._is_ending else unexpected
        elif (error := task.exception()) is None:
            self.done = task.result()
        elif isinstance(error, AnytimeError):
            self.error = error
        else:
            logger.error("session %s failed", self.request.id, exc_info=error)
            self.error = unexpected
        self.phase = "ended"
        timeline = self.timeline
        timeline.ended_at = time.monotonic()
        timeline.first_token_at = timeline.first_token_at or self._thinking.timer.first_token_at
        try:
            self.lease.release()
        finally:
            if self.error is not None:
                self.queue.emit(events.Failed(error=self.error))
            elif self.done is not None:
                self.queue.emit(self.done)
            self._over.set()

    def _done(self, truncation: Truncation, result: AnswerResult, *, answer_tokens: int) -> events.Done:
        request, thinking = self.request, self._thinking
        cached = self._cached_tokens
        adopted_tokens = 0 if self.answer_tokens else answer_tokens  # counted once
        return events.Done(
            id=request.id,
            stop=events.Stop(
                cause=truncation.cause,
                budget_tokens=self._num_before + thinking.budget_tokens,
                thinking_tokens=truncation.num_thinking_tokens,
            ),
            answer=result.answer.text,
            usage=events.Usage(
                prompt_tokens=request.num_context_tokens,
                prompt_cached_tokens=min(
                    request.num_context_tokens, result.cached_tokens if cached is None else cached
                ),
                thinking_tokens=truncation.num_thinking_tokens,
                inserted_tokens=self._inserted_tokens,
                answer_tokens=answer_tokens,
                provisional_tokens=self._early.sampled_tokens - adopted_tokens,
                cached_tokens=result.cached_tokens,
            ),
            timing=self.timeline.timing(answer_at=result.first_token_at, last_token_at=result.last_token_at),
            continuation=self._continuation,
        )

    def _started(self) -> events.Started:
        limits = self.request.limits
        return events.Started(
            id=self.request.id,
            model=self.model_name,
            budget_tokens=limits.budget_tokens,
            deadline_s=limits.deadline_s,
            prompt_tokens=self.request.num_context_tokens,
        )
