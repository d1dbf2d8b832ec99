"""The first phase: sample thinking until the model, the budget, the clock or somebody ends it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

from anytime_server.engine import Delta, Engine, EngineRequest, Sampling
from anytime_server.engine.resuming import seed_after
from anytime_server.errors import EngineFailed
from anytime_server.reasoning import Cause
from anytime_server.session import events
from anytime_server.session.latency import LatencyEstimator
from anytime_server.session.request import CompiledRequest
from anytime_server.text.model import Model

PRIORITY = 2
"""Behind answers: who has waited for the thinking should not wait for the answer as well."""
CLOCK_S = 0.05
"""How often, at the least, the time left is held against what the answer costs."""


class Thinking:
    """One request's thinking. `token_ids` grows while `run()` goes on."""

    def __init__(
        self,
        request: CompiledRequest,
        *,
        engine: Engine,
        model: Model,
        speed: LatencyEstimator,
        say: Callable[[events.Event], None],
        reach: Callable[[Sequence[int], int], None] = lambda token_ids, count: None,
        most_under_load: Callable[[], int | None] = lambda: None,
        crowd: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """
        Args:
            reach: called, as tokens come, with all of them and how many of them are certain to
                be followed by more thinking.
            most_under_load: tokens that the server lets it think for at present.
            crowd: how many other sessions that wait may want to answer before it, for each place.
        """
        self.token_ids: list[int] = []
        """Tokens sampled so far; those that an engine delivers after a cut are dropped."""
        self.budget_tokens = request.budget.tokens
        """The most of them there may be."""
        self.has_ended = False
        """Whether the model has ended it."""
        self.cached_tokens: int | None = None
        """Of the prompt, found in the prefix cache; None before anything was sampled."""
        self.due_at: float | None = None
        """`time.monotonic()` when the clock was to end it, if the clock did."""
        self.pace = speed.pace()
        self._request = request
        self._engine = engine
        self._speed = speed
        self._say = say
        self._reach = reach
        self._most_under_load = most_under_load
        self._crowd = crowd
        self._stop_ids = model.reasoning.thinking_stop_ids | request.tool_start_ids
        self._text = model.tokenizer.detokenizer()
        self._said_tokens = 0
        self._budget_cause = request.budget.cause
        self._timer: asyncio.Timeout | None = None
        self._latest_at: float | None = None
        self._began_at = 0.0
        self._is_waiting = False
        self._cut_by: Cause | None = None

    @property
    def is_cut(self) -> bool:
        """Whether it has been cut; it may still be under way."""
        return self._cut_by is not None or (self._timer is not None and self._timer.expired())

    @property
    def _is_wanted(self) -> bool:
        return len(self.token_ids) < self.budget_tokens and not self.has_ended and not self.is_cut

    def cut(self, cause: Cause) -> None:
        """End it at the tokens that are there now; also before it has begun. Not to be cut already."""
        self._cut_by = cause
        if self._timer is not None:
            self._timer.reschedule(asyncio.get_running_loop().time())

    def extend(self, tokens: int) -> int:
        """Let it go on for so many tokens more than it was to, as far as there is room for them.

        Returns:
            The budget from now on.
        """
        most_tokens = self._request.budget.most_tokens
        wanted = self.budget_tokens + tokens
        self.budget_tokens = max(self.budget_tokens, min(wanted, most_tokens))
        if wanted > most_tokens and self._request.budget.total_tokens is None:
            self._budget_cause = Cause.CONTEXT
        return self.budget_tokens

    async def wait(self, room: Callable[[], Awaitable[object]]) -> bool:
        """Wait for room to think in; not where nothing is to be thought, and no longer than to the cut.

        Returns:
            Whether there is room.
        """
        self._is_waiting = True
        try:
            return self._is_wanted and await self._until_cut(room())
        finally:
            self._is_waiting = False

    async def run(self) -> Cause:
        """Think.

        Returns:
            What stopped it; to be overruled by how the tokens end, if the model ended it.
        """
        if self._is_wanted:
            try:
                await self._until_cut(self._sample())
            finally:
                self.pace.report()
        return self._cut_by or self._budget_cause

    async def _until_cut(self, work: Awaitable[object]) -> bool:
        """Wait for it, or until the thinking is cut; whether it was done."""
        clock: asyncio.TimerHandle | None = None

        def watch() -> None:
            nonlocal clock
            if self._cut_by is None and self._timer is not None and not self._timer.expired():
                self._timer.reschedule(self._latest_cut())
                clock = asyncio.get_running_loop().call_later(CLOCK_S, watch)

        try:
            async with asyncio.timeout_at(self._latest_cut()) as self._timer:
                if self._request.budget.deadline_s is not None:
                    watch()
                await work
        except TimeoutError:
            if self._cut_by is None:
                self._cut_by, self.due_at = Cause.DEADLINE, self._latest_at
            return False
        finally:
            self._timer = None
            if clock is not None:
                clock.cancel()
        return True

    async def _sample(self) -> None:
        """In one request to the engine; in more where the budget is extended after it was used up."""
        self._began_at = time.monotonic()
        try:
            self._reach(self.token_ids, 0)
            while self._is_wanted:
                await self._sample_segment()
        finally:
            rest = self._text.flush()
            if rest or len(self.token_ids) > self._said_tokens:
                self._tell(rest)

    async def _sample_segment(self) -> None:
        async with aclosing(self._engine.generate(self._generation())) as deltas:
            async for delta in deltas:
                if self._cut_by is not None:
                    break
                if delta.finish_reason == "abort":
                    raise EngineFailed("the engine gave up on the thinking")
                self._take(delta)
                if self._cut_by is not None:
                    break

    def _take(self, delta: Delta) -> None:
        if not self.token_ids and delta.token_ids:
            self.cached_tokens = delta.cached_tokens
            self._record_prefill(delta.cached_tokens)
        self.token_ids.extend(delta.token_ids)
        self.pace.tick(len(delta.token_ids))
        num_tokens = len(self.token_ids)
        self.has_ended = delta.finish_reason == "stop"
        if shown := self._text.push([i for i in delta.token_ids if i not in self._stop_ids]):
            self._tell(shown)
        most = self._most_under_load()
        if most is not None and num_tokens >= most and self._is_wanted:
            self._cut_by = Cause.LOAD
        self._reach(
            self.token_ids, num_tokens - (not self._is_wanted)
        )  # the last token is the final answer's
        if self._timer is not None and self._cut_by is None:
            self._timer.reschedule(self._latest_cut())

    def _record_prefill(self, cached_tokens: int) -> None:
        """The first tokens are there: what did the prompt take? Where most was cached, it tells nothing."""
        num_tokens = self._request.num_context_tokens
        if 2 * cached_tokens <= num_tokens:
            seconds = time.monotonic() - self._began_at
            self._speed.record_prefill(num_tokens=num_tokens - cached_tokens, seconds=seconds)

    def _tell(self, text: str) -> None:
        self._said_tokens = len(self.token_ids)
        self._say(events.ThinkingDelta(text=text, total_tokens=self._said_tokens))

    def _generation(self) -> EngineRequest:
        request, num_tokens = self._request, len(self.token_ids)
        return EngineRequest(
            id=f"{request.id}-thinking-{num_tokens}",
            prompt_ids=[*request.context_ids, *self.token_ids],
            sampling=Sampling(
                max_tokens=self.budget_tokens - num_tokens,
                temperature=request.thinking_temperature,
                top_p=request.thinking_top_p,
                seed=seed_after(request.seed, len(request.carried_ids) + num_tokens),
                stop_ids=self._stop_ids,
                logprobs=False,
            ),
            priority=PRIORITY,
        )

    def _latest_cut(self) -> float | None:
        """Loop time by which the thinking must stop for the answer to be in time; None without a deadline."""
        request = self._request
        if request.budget.deadline_s is None:
            return None
        cost_s = self._speed.answer_cost_s(
            request.budget.answer_limit(len(self.token_ids)),
            uncached_tokens=0 if self.token_ids else request.num_context_tokens,
            structured=request.answer.is_structured,
        )
        if self._is_waiting:
            cost_s *= 1 + self._crowd()
        now = time.monotonic()
        self._latest_at = max(now, request.arrived_at + request.budget.deadline_s - cost_s)
        return asyncio.get_running_loop().time() + self._latest_at - now
