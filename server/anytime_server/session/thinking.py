"""The first phase: sample thinking until the model, the budget, the deadline or a signal ends it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from contextlib import aclosing

from anytime_server.engine import Delta, EngineRequest, Sampling
from anytime_server.engine.resuming import seed_after
from anytime_server.errors import EngineFailed
from anytime_server.reasoning import Cause, LoopDetector, first_sentence_end
from anytime_server.session import events
from anytime_server.session.early_answers import EarlyAnswers
from anytime_server.session.event_queue import EventQueue
from anytime_server.session.interrupt import Interrupt
from anytime_server.session.lease import Lease
from anytime_server.session.request import CompiledRequest
from anytime_server.session.runtime import Runtime
from anytime_server.text.thinking_text import ThinkingText

PRIORITY = 2
"""Behind answers: a client that has waited for the thinking should not wait for the answer as well."""


class ThinkingPhase:
    """The thinking of one request. `token_ids` grows while `run()` is awaited."""

    def __init__(
        self,
        request: CompiledRequest,
        *,
        runtime: Runtime,
        lease: Lease,
        early: EarlyAnswers,
        queue: EventQueue,
        num_before: int = 0,
    ) -> None:
        """
        Args:
            num_before: tokens that were sampled earlier in this session, where the model thinks again.
        """
        self.token_ids: list[int] = []
        """Tokens sampled until now; those that an engine delivers after a truncation are dropped."""
        self.budget_tokens = request.limits.budget_tokens
        """The most of them there may be, but for the grace."""
        self.has_ended = False
        """Whether the model has ended it."""
        self.cached_tokens: int | None = None
        """Prompt tokens found in the prefix cache; None before anything was sampled."""
        self.due_at: float | None = None
        """`time.monotonic()` at which the deadline was to end it, if the deadline did."""
        self.timer = runtime.latency.timer()
        self._request = request
        self._runtime = runtime
        self._lease = lease
        self._early = early
        self._queue = queue
        self._stop_ids = request.thinking_stop_ids(runtime.model.reasoning)
        self._text = ThinkingText(runtime.model, stop_ids=self._stop_ids)
        self._loops = None if request.stop_loop is None else LoopDetector(request.stop_loop)
        if self._loops is not None:
            self._loops.push_all(request.carried_ids)
        self._all_ids = list(request.carried_ids)
        """For a think-end that is no single token: it may have begun in what is carried."""
        self._emitted_tokens = 0
        self._num_before = num_before
        self._budget_cause = request.limits.cause
        self._is_sentence_over = False
        """Whether the budget is used up and the tokens end with a sentence, which ends the grace."""
        self._interrupt = Interrupt(self)
        self._latest_at: float | None = None
        self._began_at = 0.0
        self._is_waiting = False
        self._truncated_by: Cause | None = None

    @property
    def is_truncated(self) -> bool:
        """Whether it has been truncated; sampling may still be under way."""
        return self._truncated_by is not None or self._interrupt.has_expired

    @property
    def _is_wanted(self) -> bool:
        return not self._is_used_up and not self.has_ended and not self.is_truncated

    @property
    def _most_tokens(self) -> int:
        """The budget with the grace."""
        return self.budget_tokens + self._request.limits.grace_tokens

    @property
    def _is_used_up(self) -> bool:
        num_tokens = len(self.token_ids)
        is_over = self._is_sentence_over and num_tokens >= self.budget_tokens
        return is_over or num_tokens >= self._most_tokens

    def truncate(self, cause: Cause) -> None:
        """End it at the tokens that are there now, also before it has begun. Only once."""
        self._truncated_by = cause
        self._interrupt.fire()

    def extend(self, tokens: int) -> int:
        """Raise the budget by `tokens`, as far as there is room.

        Returns:
            The budget from now on.
        """
        limits = self._request.limits
        wanted = self.budget_tokens + tokens
        self.budget_tokens = max(self.budget_tokens, min(wanted, limits.max_budget_tokens))
        if wanted > limits.max_budget_tokens:
            self._budget_cause = limits.max_budget_cause
        return self.budget_tokens

    async def wait(self, slot: Awaitable[object]) -> bool:
        """Wait for an engine slot, no longer than to the truncation; returns whether there is one."""
        self._is_waiting = True
        try:
            return await self._until_truncated(slot)
        finally:
            self._is_waiting = False

    @property
    def needs_slot(self) -> bool:
        """Whether there is anything to think."""
        return self._is_wanted

    async def run(self) -> Cause:
        """Think.

        Returns:
            The cause of its end; overruled by how the tokens end, if the model ended it.
        """
        self._early.agreed.add_done_callback(self._on_agreement)
        try:
            if self._is_wanted:
                await self._until_truncated(self._sample())
        finally:
            self._early.agreed.remove_done_callback(self._on_agreement)
            self.timer.report()
        return self._truncated_by or self._budget_cause

    def _on_agreement(self, _: object) -> None:
        if not self.is_truncated and not self.has_ended:
            self.truncate(Cause.STABLE)

    async def _until_truncated(self, work: Awaitable[object]) -> bool:
        if await self._interrupt.run(work):
            return True
        if self._truncated_by is None:
            self._truncated_by, self.due_at = Cause.DEADLINE, self._latest_at
        return False

    async def _sample(self) -> None:
        """Sample in one engine request; in several where the budget is extended after it was used up."""
        self._began_at = time.monotonic()
        try:
            self._early.reach(self.token_ids, 0)
            while self._is_wanted:
                await self._sample_segment()
        finally:
            rest = self._text.flush()
            if rest or len(self.token_ids) > self._emitted_tokens:
                self._emit(rest)

    async def _sample_segment(self) -> None:
        async with aclosing(self._runtime.engine.generate(self._engine_request())) as deltas:
            async for delta in deltas:
                if self._early.agreed.done():  # its callback may not have run yet
                    self._on_agreement(self._early.agreed)
                if self._truncated_by is not None:
                    break
                if delta.finish_reason == "abort":
                    raise EngineFailed("the engine gave up on the thinking")
                self._take(delta)
                if self._truncated_by is not None or self.has_ended or self._is_sentence_over:
                    break

    def _take(self, delta: Delta) -> None:
        if not self.token_ids and delta.token_ids:
            self.cached_tokens = delta.cached_tokens
            self._record_prefill(delta.cached_tokens)
        limit = self._lease.thinking_limit()
        new_ids = self._until_think_end(self._wanted(delta.token_ids, limit))
        is_whole = len(new_ids) == len(delta.token_ids)
        if (delta.finish_reason == "stop" and is_whole) or (new_ids and new_ids[-1] in self._stop_ids):
            self.has_ended = True
        if self._loops is not None and (num_kept := self._loops.push(new_ids)) is not None:
            new_ids = self._cut_at_loop(new_ids, num_kept)
        self.timer.tick(len(new_ids))
        num_tokens = len(self.token_ids)
        if shown := self._text.push(new_ids):
            self._emit(shown)
        if limit is not None and self._num_before + num_tokens >= limit and self._is_wanted:
            self._truncated_by = Cause.LOAD
        # An early answer at the last token would be the final answer.
        self._early.reach(self.token_ids, num_tokens - (not self._is_wanted))
        if self._truncated_by is None:
            self._interrupt.update()

    def _cut_at_loop(self, new_ids: Sequence[int], num_kept: int) -> Sequence[int]:
        """Truncate after the first `num_kept` new tokens, unless the thinking ends with them."""
        if self.has_ended and num_kept == len(new_ids):
            return new_ids
        self._truncated_by, self.has_ended = Cause.LOOP, False
        del self.token_ids[len(self.token_ids) - len(new_ids) + num_kept :]
        return new_ids[:num_kept]

    def _wanted(self, token_ids: Sequence[int], limit: int | None) -> Sequence[int]:
        """The tokens of one step up to the budget, the limit and the first stop id: a step of speculative
        decoding may have more."""
        num_tokens = len(self.token_ids)
        room = self._most_tokens - num_tokens
        if limit is not None:
            room = min(room, max(1, limit - self._num_before - num_tokens))
        ends = (count for count, token_id in enumerate(token_ids, start=1) if token_id in self._stop_ids)
        return self._in_grace(token_ids[: min(room, next(ends, room))])

    def _in_grace(self, new_ids: Sequence[int]) -> Sequence[int]:
        """The tokens up to the first end of a sentence once the budget is used up."""
        self._is_sentence_over = False
        if self._request.limits.grace_tokens == 0:
            return new_ids
        num = first_sentence_end(
            self.token_ids,
            new_ids,
            at_least=self.budget_tokens,
            decode=self._runtime.model.tokenizer.decode,
        )
        if num is None:
            return new_ids
        self._is_sentence_over = True
        return new_ids[:num]

    def _until_think_end(self, new_ids: Sequence[int]) -> Sequence[int]:
        """Add new tokens, up to one that completes a think-end which the engine does not know."""
        if self._runtime.model.reasoning.think_end_text is None:
            self.token_ids.extend(new_ids)
            return new_ids
        for num, token_id in enumerate(new_ids, start=1):
            self.token_ids.append(token_id)
            self._all_ids.append(token_id)
            if self._runtime.model.thinking_tail(self._all_ids).is_complete:
                self.has_ended = True
                return new_ids[:num]
        return new_ids

    def _record_prefill(self, cached_tokens: int) -> None:
        """Measure what the prompt took, at its first token; a mostly cached prompt shows nothing."""
        num_tokens = self._request.num_context_tokens
        if 2 * cached_tokens <= num_tokens:
            seconds = time.monotonic() - self._began_at
            self._runtime.latency.record_prefill(num_tokens=num_tokens - cached_tokens, seconds=seconds)

    def _emit(self, text: str) -> None:
        self._emitted_tokens = len(self.token_ids)
        total_tokens = self._num_before + self._emitted_tokens
        self._queue.emit(events.ThinkingDelta(text=text, total_tokens=total_tokens))

    def _engine_request(self) -> EngineRequest:
        request, num_tokens = self._request, len(self.token_ids)
        options, max_tokens = request.thinking, self._most_tokens - num_tokens
        # The thinking cannot go on after the end of a turn: where that is to be ignored, it is not sampled.
        ignored_ids = self._runtime.model.reasoning.eos_ids if options.ignore_eos else frozenset[int]()
        return EngineRequest(
            id=f"{request.id}-thinking-{num_tokens}",
            prompt_ids=[*request.context_ids, *self.token_ids],
            sampling=Sampling(
                **options.token_fields(),
                max_tokens=max_tokens,
                min_tokens=min(max_tokens, max(0, (options.min_tokens or 0) - num_tokens)),
                seed=seed_after(request.seed, len(request.carried_ids) + num_tokens),
                stop_ids=self._stop_ids,
                banned_ids=ignored_ids,
                logprobs=False,
            ),
            priority=PRIORITY,
            cache_salt=request.cache_salt,
            adapter=request.adapter,
        )

    def latest(self) -> float | None:
        """Event loop time by which it must stop for the answer to be in time; None without a deadline."""
        request = self._request
        if request.limits.deadline_s is None:
            return None
        cost_s = self._runtime.latency.answer_cost_s(
            request.limits.answer_limit(len(self.token_ids)),
            expected_tokens=request.limits.answer_tokens,
            uncached_tokens=0 if self.token_ids else request.num_context_tokens,
            structured=request.answer.is_structured,
        )
        if self._is_waiting:
            cost_s *= 1 + self._lease.answers_ahead()
        now = time.monotonic()
        self._latest_at = max(now, request.arrived_at + request.limits.deadline_s - cost_s)
        return asyncio.get_running_loop().time() + self._latest_at - now
