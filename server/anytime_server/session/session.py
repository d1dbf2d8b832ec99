"""The session: both phases, the controls, and the events for whoever listens."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, nullcontext, suppress
from typing import Literal

from anytime_server.engine import Engine
from anytime_server.errors import AlreadyAnswering, AnytimeError, SessionCancelled
from anytime_server.reasoning import Cause, Truncation, truncate_thinking
from anytime_server.session import events
from anytime_server.session.answer import Answering, AnswerResult
from anytime_server.session.early_answers import EarlyAnswers
from anytime_server.session.event_queue import EventQueue, WholeAnswers
from anytime_server.session.latency import LatencyEstimator
from anytime_server.session.request import CompiledRequest
from anytime_server.session.thinking import Thinking
from anytime_server.session.timeline import Timeline
from anytime_server.text.model import Model

logger = logging.getLogger(__name__)


class Session:
    """Runs one request as a task of its own, which writes events for `read()`.

    Whoever reads may go at any time; then everything the session owns in the engine is
    aborted. That the task is its own keeps this clean-up out of the reach of whatever
    cancelled the reader; and it is told to end only once.
    """

    def __init__(
        self,
        request: CompiledRequest,
        *,
        engine: Engine,
        model: Model,
        speed: LatencyEstimator,
        slot: AbstractAsyncContextManager[object] | None = None,
        answer_slot: AbstractAsyncContextManager[object] | None = None,
        late_slot: AbstractAsyncContextManager[object] | None = None,
        most_under_load: Callable[[], int | None] = lambda: None,
        crowd: Callable[[], float] = lambda: 0.0,
        rest_s: Callable[[], float] = lambda: 0.0,
        seal: Callable[[Sequence[int], bool], str] | None = None,
    ) -> None:
        """
        Args:
            slot: held while the session uses the engine; entering it may wait for room.
            answer_slot: held in its place by a session that has only to answer: its budget is 0.
            late_slot: the same where its thinking was cut while it waited.
            most_under_load: tokens that the server lets it think for at present.
            crowd: how many other sessions that wait may want to answer before it, for each place.
            rest_s: seconds after some deltas in which further ones are gathered before they are read.
            seal: makes the continuation of thinking, given its ids and whether the model ended it.
        """
        self.request = request
        self._outbox = EventQueue(rest_s=rest_s)
        self._say = self._outbox.say
        self.phase: Literal["waiting", "thinking", "answering", "ended"] = "waiting"
        self.done: events.Done | None = None
        """The last event, if all went well."""
        self.answer: events.Answer | None = None
        """The final one, once it is there."""
        self.timeline = Timeline(arrived_at=request.arrived_at, opened_at=time.monotonic())
        self.error: AnytimeError | None = None
        """What went wrong, if not; neither is set where nobody was left to hear it."""
        self._engine = engine
        self._model = model
        self._speed = speed
        self._slot = slot or nullcontext()
        self._answer_slot = answer_slot or nullcontext()
        self._late_slot = late_slot or self._answer_slot
        self._only_answers = False
        self._seal = seal
        self._forks = EarlyAnswers(request, answer=self._provisional, on_stable=self._settled)
        self._thinking = Thinking(
            request,
            engine=engine,
            model=model,
            speed=speed,
            say=self._say,
            reach=self._forks.reach,
            most_under_load=most_under_load,
            crowd=crowd,
        )
        self._indices = itertools.count()
        self._cut: Truncation | None = None
        self._continuation: str | None = None
        self.leaked_tokens = 0
        """Tokens of answers that were thinking."""
        self._task: asyncio.Task[events.Done] | None = None
        self._told_to_end = False
        self._cancelled_by: AnytimeError | None = None
        self._over = asyncio.Event()

    def start(self, *, on_end: Callable[[Session], None] = lambda session: None) -> None:
        """Begin. `on_end` is called once the engine is rid of it, before the last event is said."""
        self._say(self._started())
        self._task = asyncio.create_task(self._run(), name=self.request.id)
        # Not within the task: one that is cancelled before its first step runs nothing of itself.
        self._task.add_done_callback(lambda task: self._end(task, on_end))

    def answer_now(self, cause: Cause = Cause.CLIENT) -> int:
        """Stop the thinking and answer.

        Args:
            cause: in whose name.

        Returns:
            Thinking tokens that the answer is based on.

        Raises:
            AlreadyAnswering: the thinking has stopped already.
        """
        self._require_thinking()
        self._thinking.cut(cause)
        return len(self._thinking.token_ids)

    def extend(self, tokens: int) -> int:
        """Let it think for so many tokens more than it was to, as far as there is room for them.

        Returns:
            The budget from now on, in tokens.

        Raises:
            AlreadyAnswering: the thinking has stopped already.
        """
        self._require_thinking()
        return self._thinking.extend(tokens)

    @property
    def thinking_tokens(self) -> int:
        """Thinking tokens sampled so far."""
        return len(self._thinking.token_ids)

    def _require_thinking(self) -> None:
        thinking = self._thinking
        is_over = thinking.is_cut or thinking.has_ended or self._only_answers
        if is_over or self._told_to_end or self.phase in ("answering", "ended"):
            raise AlreadyAnswering(f"session {self.request.id} is answering already, or ending")

    def cancel(self, error: AnytimeError | None = None) -> None:
        """End with an error event, which tells readers; nothing happens if it has ended.

        Args:
            error: what they are told, if not that it was cancelled.
        """
        if not self._told_to_end:
            self._cancelled_by = error or SessionCancelled("the session was cancelled")
        self.abandon()

    def abandon(self) -> None:
        """Nobody listens any more: end without a word."""
        if self._task is not None and not self._told_to_end:
            self._told_to_end = True
            self._task.cancel()

    def continuation(self) -> str | None:
        """What a later request can think on from; None while it thinks."""
        cut = self._cut
        if self._continuation is None and cut is not None and self._seal is not None:
            self._continuation = self._seal(cut.thinking_ids, cut.cause is Cause.NATURAL)
        return self._continuation

    async def ended(self) -> None:
        """Wait until all is over, however it ends."""
        if self._task is not None:
            await self._over.wait()

    async def read(self, *, idle_s: float | None = None) -> AsyncGenerator[list[events.Event], None]:
        """What it says, as `EventQueue.read()` gives it. Closing it abandons the session."""
        try:
            async with aclosing(self._outbox.read(idle_s=idle_s)) as batches:
                async for batch in batches:
                    yield batch
        finally:
            if self.phase != "ended":
                self.abandon()

    async def _run(self) -> events.Done:
        async with AsyncExitStack() as held:
            if not await self._thinking.wait(lambda: held.enter_async_context(self._slot)):
                self._only_answers = True
                slot = self._late_slot if self._thinking.is_cut else self._answer_slot
                await held.enter_async_context(slot)
            return await self._think_and_answer()

    def _end(self, task: asyncio.Task[events.Done], on_end: Callable[[Session], None]) -> None:
        """The task is over: say exactly one of `done` and `error`, unless nobody listens."""
        unexpected = AnytimeError("an unexpected error ended the session")
        if task.cancelled():
            self.error = self._cancelled_by if self._told_to_end else unexpected
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
        timeline.first_token_at = timeline.first_token_at or self._thinking.pace.first_token_at
        try:
            on_end(self)
        finally:
            if self.error is not None:
                self._say(events.ErrorEvent(error=events.ErrorDetail.of(self.error)))
            elif self.done is not None:
                self._say(self.done)
            self._over.set()

    async def _think_and_answer(self) -> events.Done:
        request, thinking, forks, timeline = self.request, self._thinking, self._forks, self.timeline
        self.phase = "thinking"
        timeline.room_at = time.monotonic()
        try:
            cause = await thinking.run()
            self.phase = "answering"
            cut_at = timeline.cut_at = thinking.due_at or time.monotonic()
            timeline.first_token_at = thinking.pace.first_token_at
            forks.drop_probes()
            cut = self._cut = self._close([*request.carried_ids, *thinking.token_ids], cause)
            if cut.cause is Cause.STABLE and forks.agreed is not None:
                result = self._adopt(forks.agreed)
                answer_tokens = result.answer.answer_tokens
            else:
                answering = self._answering(cut)
                result = await answering.run()
                answer_tokens = answering.sampled_tokens
                self.leaked_tokens = answering.leaked_tokens
                self._record(cut, result, cut_to_answer_s=result.first_token_at - cut_at)
            timeline.first_token_at = timeline.first_token_at or result.first_sampled_at
            timeline.answer_at = result.first_token_at
            self.answer = result.answer
            with suppress(TimeoutError):
                async with asyncio.timeout(self._left_s()):
                    await forks.finish()
        finally:
            await forks.close()
        self.leaked_tokens += forks.leaked_tokens
        return self._done(
            cut, result, answer_tokens=answer_tokens, cut_to_answer_s=result.first_token_at - cut_at
        )

    def _adopt(self, agreed: AnswerResult) -> AnswerResult:
        """Make the provisional answer that others agree with the final one; it is not sampled again."""
        index, now = next(self._indices), time.monotonic()
        answer = agreed.answer.model_copy(update={"index": index, "provisional": False})
        self._say(
            events.AnswerStarted(
                index=index, at_tokens=answer.at_tokens, provisional=False, cause=Cause.STABLE
            )
        )
        self._say(events.AnswerDelta(index=index, text=answer.text, tokens=agreed.tokens))
        self._say(answer)
        return dataclasses.replace(agreed, answer=answer, first_token_at=now, last_token_at=now)

    def _close(self, thinking_ids: Sequence[int], cause: Cause) -> Truncation:
        request = self.request
        return truncate_thinking(
            thinking_ids,
            self._model.reasoning,
            cause=cause,
            forcing=request.answer.forcing,
            num_carried_tokens=len(request.carried_ids),
            tool_start_ids=request.tool_start_ids,
        )

    def _provisional(self, thinking_ids: Sequence[int], is_probe: bool) -> Answering:
        cut = self._close([*self.request.carried_ids, *thinking_ids], Cause.BUDGET)
        # What is there for comparison is told once it is whole: it may be dropped at any time.
        return self._answering(cut, provisional=True, at_once=is_probe)

    def _answering(self, cut: Truncation, *, provisional: bool = False, at_once: bool = False) -> Answering:
        return Answering(
            self.request,
            cut,
            index=next(self._indices),
            provisional=provisional,
            engine=self._engine,
            model=self._model,
            speed=self._speed,
            say=WholeAnswers(self._say) if at_once else self._say,
        )

    def _settled(self) -> None:
        """The provisional answers agree."""
        thinking = self._thinking
        if self.phase == "thinking" and not thinking.is_cut and not thinking.has_ended:
            thinking.cut(Cause.STABLE)

    def _record(self, cut: Truncation, result: AnswerResult, *, cut_to_answer_s: float) -> None:
        request = self.request
        self._speed.record_answer(
            answer_tokens=result.answer.answer_tokens, structured=request.answer.is_structured
        )
        uncached_tokens = 0
        if self._thinking.pace.first_token_at is None:
            uncached_tokens = len(cut.answer_prompt(request.prompt_ids)) - result.cached_tokens
        self._speed.record_switch(seconds=cut_to_answer_s, uncached_tokens=uncached_tokens)

    def _left_s(self) -> float | None:
        deadline_s = self.request.budget.deadline_s
        if deadline_s is None:
            return None
        return max(0.0, self.request.arrived_at + deadline_s - time.monotonic())

    def _done(
        self, cut: Truncation, result: AnswerResult, *, answer_tokens: int, cut_to_answer_s: float
    ) -> events.Done:
        request = self.request
        first_token_at = self.timeline.first_token_at
        assert first_token_at is not None
        cached = self._thinking.cached_tokens
        adopted_tokens = answer_tokens if cut.cause is Cause.STABLE else 0  # counted once
        return events.Done(
            id=request.id,
            stop=events.Stop(
                cause=cut.cause,
                budget_tokens=self._thinking.budget_tokens,
                thinking_tokens=cut.num_thinking_tokens,
            ),
            answer=result.answer.text,
            usage=events.Usage(
                prompt_tokens=request.num_context_tokens,
                thinking_tokens=cut.num_thinking_tokens,
                inserted_tokens=len(cut.inserted_ids),
                answer_tokens=answer_tokens,
                provisional_tokens=self._forks.sampled_tokens - adopted_tokens,
                cached_tokens=result.cached_tokens,
                prompt_cached_tokens=min(
                    request.num_context_tokens, result.cached_tokens if cached is None else cached
                ),
            ),
            timing=events.Timing(
                time_to_first_token_s=first_token_at - request.arrived_at,
                cut_to_answer_s=cut_to_answer_s,
                time_to_answer_s=result.first_token_at - request.arrived_at,
                total_s=result.last_token_at - request.arrived_at,
            ),
            continuation=self.continuation(),
        )

    def _started(self) -> events.Started:
        budget = self.request.budget
        return events.Started(
            id=self.request.id,
            model=self._model.name,
            budget=events.ResolvedBudget(
                tokens=budget.tokens,
                deadline_ms=None if budget.deadline_s is None else round(budget.deadline_s * 1000),
            ),
            prompt_tokens=self.request.num_context_tokens,
        )
