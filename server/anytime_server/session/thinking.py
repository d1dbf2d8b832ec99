"""The first phase: sample thinking until the model, the budget, the clock or the client ends it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from anytime_server import events
from anytime_server.engine import Engine, GenerationRequest, Sampling
from anytime_server.errors import EngineFailed
from anytime_server.model import Model
from anytime_server.reasoning import Cause
from anytime_server.session.request import SessionRequest
from anytime_server.speed import SpeedMeter

PRIORITY = 1
"""Behind answers: who has waited for the thinking should not wait for the answer as well."""


class Thinking:
    """One request's thinking. `token_ids` grows while `run()` goes on."""

    def __init__(
        self,
        request: SessionRequest,
        *,
        engine: Engine,
        model: Model,
        speed: SpeedMeter,
        say: Callable[[events.Event], None],
    ) -> None:
        self.token_ids: list[int] = []
        """Tokens sampled so far; those that an engine delivers after a cut are dropped."""
        self.pace = speed.pace()
        self._request = request
        self._engine = engine
        self._model = model
        self._speed = speed
        self._say = say
        self._timer: asyncio.Timeout | None = None
        self._cut_by_client = False
        self._cut_by_clock = False

    @property
    def is_cut(self) -> bool:
        """Whether it has been cut, by the client or the clock; it may still be under way."""
        return (
            self._cut_by_client or self._cut_by_clock or (self._timer is not None and self._timer.expired())
        )

    @property
    def _is_wanted(self) -> bool:
        return self._request.budget.tokens > 0 and not self.is_cut

    def cut(self) -> None:
        """End it at the tokens that are there now; also before it has begun. Not to be cut already."""
        self._cut_by_client = True
        if self._timer is not None:
            self._timer.reschedule(asyncio.get_running_loop().time())

    async def wait(self, room: Callable[[], Awaitable[object]]) -> bool:
        """Wait for room to think in; not where nothing is to be thought, and no longer than to the cut.

        Returns:
            Whether there is room.
        """
        return self._is_wanted and await self._until_cut(room())

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
        if self._cut_by_client:
            return Cause.CLIENT
        budget = self._request.budget
        return budget.cause if len(self.token_ids) == budget.tokens else Cause.DEADLINE

    async def _until_cut(self, work: Awaitable[object]) -> bool:
        """Wait for it, or until the thinking is cut; whether it was done."""
        try:
            async with asyncio.timeout_at(self._latest_cut()) as self._timer:
                await work
        except TimeoutError:
            self._cut_by_clock = not self._cut_by_client
            return False
        finally:
            self._timer = None
        return True

    async def _sample(self) -> None:
        request, stop_ids = self._request, self._model.reasoning.thinking_stop_ids
        generation = GenerationRequest(
            id=f"{request.id}-thinking",
            prompt_ids=request.prompt_ids,
            sampling=Sampling(
                max_tokens=request.budget.tokens,
                temperature=request.thinking_temperature,
                top_p=request.thinking_top_p,
                seed=request.seed,
                stop_ids=stop_ids,
            ),
            priority=PRIORITY,
        )
        text = self._model.tokenizer.text_stream()
        said_tokens = 0
        try:
            async with aclosing(self._engine.generate(generation)) as deltas:
                async for delta in deltas:
                    if self._cut_by_client:
                        break
                    if delta.finish_reason == "abort":
                        raise EngineFailed("the engine gave up on the thinking")
                    self.token_ids.extend(delta.token_ids)
                    self.pace.tick(len(delta.token_ids))
                    if shown := text.push([i for i in delta.token_ids if i not in stop_ids]):
                        said_tokens = len(self.token_ids)
                        self._say(events.ThinkingDelta(text=shown, total_tokens=said_tokens))
                    if (latest_cut := self._latest_cut()) is not None and self._timer is not None:
                        self._timer.reschedule(latest_cut)
        finally:
            rest = text.flush()
            if rest or len(self.token_ids) > said_tokens:
                self._say(events.ThinkingDelta(text=rest, total_tokens=len(self.token_ids)))

    def _latest_cut(self) -> float | None:
        """Loop time by which the thinking must stop for the answer to be in time; None without a deadline."""
        request = self._request
        if request.budget.deadline_s is None:
            return None
        left_s = request.arrived_at + request.budget.deadline_s - time.monotonic()
        cost_s = self._speed.answer_cost_s(request.budget.answer_limit(len(self.token_ids)))
        return asyncio.get_running_loop().time() + left_s - cost_s
