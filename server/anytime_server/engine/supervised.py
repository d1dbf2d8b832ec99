"""An engine that is built anew when it dies or hangs; requests go on from the tokens that they have.

To those who wait for tokens, a death is a pause. Knows no engine in particular, and nothing of sessions.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from anytime_server.engine.base import Delta, Engine, EngineLoad, EngineRequest, Generation
from anytime_server.engine.resuming import rest_of
from anytime_server.errors import EngineDead, WeightSyncFailed

logger = logging.getLogger(__name__)

MAX_DEATHS = 2
"""Deaths that a request may see: one that has seen so many may be their cause."""
CHECK_S = 0.5
"""How often the engine is looked at where nobody is told of its death."""
STOP_S = 30
"""Seconds that a dead engine gets to go; one that hangs in a thread of this process cannot be made to."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
"""Between attempts to build it: the first, doubled after each that fails, and the longest."""
ABORTED = Delta(token_ids=(), logprobs=(), cached_tokens=0, finish_reason="abort")


@dataclass(slots=True, kw_only=True)
class _UnderWay:
    """A request, and how far it has come."""

    request: EngineRequest
    token_ids: list[int] = field(default_factory=list)
    """Delivered."""
    num_deaths: int = 0
    """Of the engine, while it had this request."""
    asked: str = ""
    """The id under which the engine has it."""
    is_aborted: bool = False
    waiting: asyncio.Timeout | None = None
    """Set while it waits for an engine."""

    def rest(self) -> EngineRequest:
        return rest_of(self.request, self.token_ids)


class SupervisedEngine(Engine):
    """Passes requests on to an engine, and replaces it where needed, for as long as it takes."""

    def __init__(
        self, build: Callable[[], Engine], *, stall_s: float = 120, restart_wait_s: float = 60
    ) -> None:
        """
        Args:
            build: makes an engine, not started.
            stall_s: seconds of silence, while somebody waits for tokens, after which an engine counts as
                dead; 0 lets it take any time.
            restart_wait_s: seconds that a request waits for another engine.
        """
        self._num_restarts = 0
        self._build = build
        self._engine = build()
        self._stall_s = stall_s or math.inf
        self._restart_wait_s = restart_wait_s
        self._window_tokens = 0
        self._is_running = False
        self._up = asyncio.Event()
        """There is nothing to wait for: an engine takes requests, or none will."""
        self._up.set()
        self._died = asyncio.Event()
        self._supervising: asyncio.Task[None] | None = None
        self._under_way: dict[str, _UnderWay] = {}
        self._awaiting: set[asyncio.Timeout] = set()
        """Of each request that waits for its next tokens: ends the wait."""
        self._num_deltas = 0

    @property
    def window_tokens(self) -> int:
        return self._window_tokens

    @property
    def alive(self) -> bool:
        return self._is_running and self._up.is_set() and self._engine.alive

    @property
    def num_restarts(self) -> int:
        return self._num_restarts

    @property
    def kv_cache_use(self) -> float | None:
        return self._engine.kv_cache_use

    def check_json_schema(self, json_schema: str) -> None:
        self._engine.check_json_schema(json_schema)

    async def start(self) -> None:
        await self._engine.start()
        self._window_tokens = self._engine.window_tokens
        _freeze()
        self._is_running = True
        self._supervising = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        self._is_running = False
        if self._supervising is not None:
            self._supervising.cancel()
            await asyncio.wait([self._supervising])
        self._up.set()
        self._interrupt()
        gc.unfreeze()
        await self._engine.stop()

    async def abort(self, request_id: str) -> None:
        if (one := self._under_way.get(request_id)) is None:
            return
        one.is_aborted = True
        if one.waiting is not None:
            one.waiting.reschedule(asyncio.get_running_loop().time())
        else:
            await self._engine.abort(one.asked)

    def load(self) -> EngineLoad:
        return EngineLoad(num_requests=len(self._under_way), max_num_seqs=self._engine.load().max_num_seqs)

    async def generate_all(self, requests: Sequence[EngineRequest]) -> list[Generation]:
        """Not gone on with after a death: they would not give the same again, bit for bit."""
        return await self._engine.generate_all(requests)

    async def update_weights(self, weights: Path, *, sha256: str, timeout_s: float) -> None:
        """Refused: a new engine would have the old weights."""
        raise WeightSyncFailed("an engine that is built anew when it dies takes no other weights")

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Delta, None]:
        one = self._under_way[request.id] = _UnderWay(request=request)
        try:
            while (engine := await self._running_engine(one)) is not None:
                try:
                    rest = one.rest()
                    one.asked = rest.id
                    async with aclosing(engine.generate(rest)) as deltas:
                        while True:
                            delta = await self._next(deltas, one)
                            one.token_ids += delta.token_ids
                            yield delta
                            if delta.finish_reason is not None:
                                return
                except EngineDead as error:
                    self._note_death(engine)
                    self._require_another_try(one, error)
            yield ABORTED
        finally:
            del self._under_way[request.id]

    async def _running_engine(self, one: _UnderWay) -> Engine | None:
        """The engine, once there is one that runs; None if the request is aborted before."""
        if not self._engine.alive:
            self._note_death(self._engine)
        try:
            async with asyncio.timeout(0 if one.is_aborted else self._restart_wait_s) as waiting:
                one.waiting = waiting
                await self._up.wait()
        except TimeoutError:
            if not one.is_aborted:
                why = f"the engine died, and was not up again within {self._restart_wait_s:g} s"
                raise EngineDead(why) from None
        finally:
            one.waiting = None
        if one.is_aborted:
            return None
        if not self._is_running:
            raise EngineDead("the engine is not running")
        return self._engine

    async def _next(self, deltas: AsyncGenerator[Delta, None], one: _UnderWay) -> Delta:
        try:
            async with asyncio.timeout(None) as lost:
                self._awaiting.add(lost)
                try:
                    delta = await anext(deltas)
                finally:
                    self._awaiting.discard(lost)
        except TimeoutError:
            raise EngineDead("the engine is dead") from None
        self._num_deltas += 1
        if not one.num_deaths:
            return delta
        # Of what it has itself sampled before, it may find tokens in the cache.
        cached_tokens = min(delta.cached_tokens, len(one.request.prompt_ids))
        return dataclasses.replace(delta, cached_tokens=cached_tokens)

    def _note_death(self, engine: Engine) -> None:
        """Also told late, of an engine that has been replaced already."""
        if engine is self._engine and self._is_running:
            self._up.clear()
            self._died.set()

    def _require_another_try(self, one: _UnderWay, error: EngineDead) -> None:
        one.num_deaths += 1
        if one.num_deaths == MAX_DEATHS:
            raise EngineDead(f"the engine died {MAX_DEATHS} times while it had this request") from error
        if one.token_ids and one.request.sampling.json_schema is not None:
            raise EngineDead("the engine died, and JSON cannot be gone on with from its middle") from error

    def _interrupt(self) -> None:
        """Whoever waits for tokens has waited in vain."""
        now = asyncio.get_running_loop().time()
        while self._awaiting:
            self._awaiting.pop().reschedule(now)

    async def _supervise(self) -> None:
        while True:
            await self._death()
            await self._restart()

    async def _death(self) -> None:
        """Wait until the engine is dead, or silent for too long while it is asked.

        Counted in checks, not by the clock, which goes on where this process is suspended.
        """
        silent_s = 0.0
        while self._engine.alive and not self._died.is_set() and silent_s < self._stall_s:
            num_deltas = self._num_deltas
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_S):
                    await self._died.wait()
            is_silent = self._awaiting and num_deltas == self._num_deltas
            silent_s = silent_s + CHECK_S if is_silent else 0.0
        self._up.clear()

    async def _restart(self) -> None:
        died_at, pause_s = time.monotonic(), FIRST_PAUSE_S
        how = "dead" if self._died.is_set() or not self._engine.alive else "silent"
        num_requests = len(self._under_way)
        logger.error("the engine is %s and is started again; requests wait for it: %d", how, num_requests)
        self._interrupt()
        while not await self._is_replaced():
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        self._window_tokens = self._engine.window_tokens
        _freeze()
        self._num_restarts += 1
        self._died.clear()
        self._up.set()
        logger.warning("the engine is up again after %.1f s", time.monotonic() - died_at)

    async def _is_replaced(self) -> bool:
        """Try to put another engine in place of the present one, which is dead or was never up."""
        gc.unfreeze()  # so that what it leaves can be collected
        try:
            async with asyncio.timeout(STOP_S):
                await self._engine.stop()
        except TimeoutError:
            logger.error("the dead engine does not go, and keeps its memory")
        except Exception:
            logger.exception("the dead engine does not go as it should")
        try:
            self._engine = self._build()
            await self._engine.start()
        except Exception as error:
            logger.error("the engine cannot be started: %s", error)
            return False
        return True


def _freeze() -> None:
    """An engine's libraries are most of the heap: looking through it again and again stops all streams."""
    gc.collect()
    gc.freeze()
