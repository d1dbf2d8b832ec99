"""An engine that replaces another engine when that dies or hangs; requests resume from their tokens.

Callers see a death as a pause. Knows no particular engine, and nothing of sessions.
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
from anytime_server.engine.constraint import Constraint, Enforced
from anytime_server.engine.resuming import remaining_request
from anytime_server.errors import AnytimeError, EngineDead, EngineFailed, UnusableModel, WeightSyncFailed

logger = logging.getLogger(__name__)

MAX_DEATHS = 2
"""Deaths of the engine after which a request fails: it may be their cause."""
CHECK_S = 0.5
"""Seconds between checks of the engine."""
STOP_S = 15
"""Seconds for an engine to stop; an engine that hangs in a thread of this process never does."""
RESTART_FACTOR, MIN_RESTART_S = 3, 60
"""A restart may take this multiple of the longest start until now, and at least this number of seconds."""
DOWN_FACTOR, MIN_DOWN_S = 6, 600
"""The same for the time without an engine, after which the supervisor counts as stuck."""
FIRST_PAUSE_S, MAX_PAUSE_S = 1.0, 30.0
"""Seconds between attempts to start an engine: the pause doubles after each failure."""


@dataclass(slots=True, kw_only=True)
class _Progress:
    """A running request and its progress."""

    request: EngineRequest
    token_ids: list[int] = field(default_factory=list)
    """Delivered tokens."""
    num_deaths: int = 0
    """Deaths of the engine during this request."""

    def remaining(self) -> EngineRequest:
        return remaining_request(self.request, self.token_ids)


class SupervisedEngine(Engine):
    """Passes requests on to an engine, and replaces that engine when it dies or hangs."""

    def __init__(
        self,
        build: Callable[[], Engine],
        *,
        start_s: float = 3600,
        stall_s: float = 120,
        restart_wait_s: float = 60,
        down_s: float | None = None,
    ) -> None:
        """
        Args:
            build: creates an engine, not started.
            start_s: seconds that a start may take.
            stall_s: seconds without any token, while requests wait for tokens, after which an engine counts
                as dead; 0 for no limit.
            restart_wait_s: seconds that a request waits for a new engine.
            down_s: seconds without an engine after which this one is stuck; by default six times its longest
                start, and at least 600.
        """
        self._num_restarts = 0
        self._up_since = -math.inf
        self._build = build
        self._engine = build()
        self._start_s = start_s
        self._longest_start_s = 0.0
        self._stall_s = stall_s or math.inf
        self._restart_wait_s = restart_wait_s
        self._down_s = down_s
        self._down_since: float | None = None
        self._window_tokens = 0
        self._is_running = False
        self._prepares_constraints = False
        self._up = asyncio.Event()
        """Set unless the engine is being replaced."""
        self._up.set()
        self._died = asyncio.Event()
        self._supervising: asyncio.Task[None] | None = None
        self._progress: dict[str, _Progress] = {}
        """Running requests by id."""
        self._awaiting: set[asyncio.Timeout] = set()
        """One for each request that waits for tokens; expiring it ends the wait."""
        self._num_deltas = 0

    @property
    def window_tokens(self) -> int:
        return self._window_tokens

    @property
    def alive(self) -> bool:
        return self._is_running and self._up.is_set() and self._engine.alive

    @property
    def is_stuck(self) -> bool:
        if self._down_since is None:
            return False
        usual_s = max(MIN_DOWN_S, DOWN_FACTOR * self._longest_start_s)
        return time.monotonic() - self._down_since > (self._down_s or usual_s)

    @property
    def num_restarts(self) -> int:
        return self._num_restarts

    @property
    def up_since(self) -> float:
        return self._up_since

    @property
    def kv_cache_use(self) -> float | None:
        return self._engine.kv_cache_use

    @property
    def unsupported_sampling(self) -> frozenset[str]:
        return self._engine.unsupported_sampling

    async def prepare_constraints(self) -> None:
        self._prepares_constraints = True
        await self._engine.prepare_constraints()

    @property
    def schema_compilations(self) -> tuple[int, float]:
        return self._engine.schema_compilations

    async def enforced(self, constraint: Constraint) -> Enforced:
        return await self._engine.enforced(constraint)

    async def violation(self, json_schema: str, text: str) -> str | None:
        return await self._engine.violation(json_schema, text)

    async def start(self) -> None:
        await self._start_engine(self._start_s)
        self._is_running = True
        self._supervising = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        self._is_running = False
        self._down_since = None
        if self._supervising is not None:
            self._supervising.cancel()
            await asyncio.wait([self._supervising], timeout=STOP_S)
        self._up.set()
        self._interrupt()
        await self._stop_engine()

    async def _start_engine(self, limit_s: float) -> None:
        """Start the present engine.

        Raises:
            UnusableModel: it failed, or took longer than `limit_s` seconds.
        """
        began_at, limit = time.monotonic(), asyncio.timeout(limit_s)
        try:
            async with limit:
                await self._engine.start()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise UnusableModel(f"the engine did not start within {limit_s:.0f} s") from error
        self._longest_start_s = max(self._longest_start_s, time.monotonic() - began_at)
        self._window_tokens = self._engine.window_tokens
        _freeze()

    async def _stop_engine(self) -> None:
        """Stop the present engine, in whatever state; an engine that does not stop is left alone."""
        gc.unfreeze()  # so that its garbage can be collected
        limit = asyncio.timeout(STOP_S)
        try:
            async with limit:
                await self._engine.stop()
        except AnytimeError as error:
            logger.error("the engine failed to stop: %s", error)
        except Exception:
            if limit.expired():
                logger.error("the engine does not stop within %d s, and keeps its memory", STOP_S)
            else:
                logger.exception("the engine failed to stop")

    def load(self) -> EngineLoad:
        return EngineLoad(num_requests=len(self._progress), max_num_seqs=self._engine.load().max_num_seqs)

    async def generate_all(self, requests: Sequence[EngineRequest]) -> list[Generation]:
        """Not resumed after a death: the results would not be the same, bit for bit."""
        return await self._engine.generate_all(requests)

    async def update_weights(self, weights: Path, *, sha256: str, timeout_s: float) -> None:
        """Refused: a new engine would have the old weights."""
        raise WeightSyncFailed("an engine that is replaced when it dies takes no other weights")

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Delta, None]:
        progress = self._progress[request.id] = _Progress(request=request)
        try:
            while True:
                engine = await self._running_engine()
                try:
                    async with aclosing(engine.generate(progress.remaining())) as deltas:
                        while True:
                            delta = await self._next(deltas, progress)
                            progress.token_ids += delta.token_ids
                            yield delta
                            if delta.finish_reason is not None:
                                return
                except EngineDead as error:
                    self._note_death(engine)
                    self._require_retry(progress, error)
        finally:
            del self._progress[request.id]

    async def _running_engine(self) -> Engine:
        """Wait for a running engine."""
        if not self._engine.alive:
            self._note_death(self._engine)
        try:
            async with asyncio.timeout(self._restart_wait_s):
                await self._up.wait()
        except TimeoutError:
            reason = f"the engine died and did not restart within {self._restart_wait_s:g} s"
            raise EngineDead(reason) from None
        if not self._is_running:
            raise EngineDead("the engine is not running")
        return self._engine

    async def _next(self, deltas: AsyncGenerator[Delta, None], progress: _Progress) -> Delta:
        interrupt = asyncio.timeout(None)
        try:
            async with interrupt:
                self._awaiting.add(interrupt)
                try:
                    delta = await anext(deltas)
                finally:
                    self._awaiting.discard(interrupt)
        except TimeoutError as error:
            if interrupt.expired():
                raise EngineDead("the engine is dead") from None
            raise EngineFailed("the engine failed on this request: it timed out") from error
        self._num_deltas += 1
        if not progress.num_deaths:
            return delta
        # After a death the prompt includes sampled tokens, which the cache may have too.
        cached_tokens = min(delta.cached_tokens, len(progress.request.prompt_ids))
        return dataclasses.replace(delta, cached_tokens=cached_tokens)

    def _note_death(self, engine: Engine) -> None:
        """Start the replacement of an engine, unless it has been replaced already."""
        if engine is self._engine and self._is_running:
            self._mark_down()
            self._died.set()

    def _mark_down(self) -> None:
        self._up.clear()
        if self._down_since is None:
            self._down_since = time.monotonic()

    def _require_retry(self, progress: _Progress, error: EngineDead) -> None:
        """Check that the request can resume on another engine."""
        progress.num_deaths += 1
        if progress.num_deaths == MAX_DEATHS:
            raise EngineDead(f"the engine died {MAX_DEATHS} times during this request") from error
        if progress.token_ids and progress.request.sampling.constraint is not None:
            raise EngineDead("the engine died, and a constrained answer cannot be resumed") from error

    def _interrupt(self) -> None:
        """End every wait for tokens of the dead engine."""
        now = asyncio.get_running_loop().time()
        while self._awaiting:
            self._awaiting.pop().reschedule(now)

    async def _supervise(self) -> None:
        while True:
            await self._death()
            await self._restart()

    async def _death(self) -> None:
        """Wait until the engine dies, or is silent for too long while requests wait for tokens.

        Counts checks instead of reading the clock, which goes on while this process is suspended.
        """
        silent_s = 0.0
        while self._engine.alive and not self._died.is_set() and silent_s < self._stall_s:
            num_deltas = self._num_deltas
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_S):
                    await self._died.wait()
            is_silent = self._awaiting and num_deltas == self._num_deltas
            silent_s = silent_s + CHECK_S if is_silent else 0.0
        self._mark_down()

    async def _restart(self) -> None:
        died_at, pause_s = time.monotonic(), FIRST_PAUSE_S
        state = "dead" if self._died.is_set() or not self._engine.alive else "silent"
        num_requests = len(self._progress)
        logger.error("the engine is %s and is started again; %d requests wait for it", state, num_requests)
        self._interrupt()
        while not await self._is_replaced():
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)
        self._num_restarts += 1
        self._up_since = time.monotonic()
        self._died.clear()
        self._down_since = None
        if self._prepares_constraints:
            await self._engine.prepare_constraints()
        self._up.set()
        logger.warning("the engine is up again after %.1f s", time.monotonic() - died_at)

    async def _is_replaced(self) -> bool:
        """Try to replace the present engine, which is dead or failed to start."""
        await self._stop_engine()
        limit_s = min(self._start_s, max(MIN_RESTART_S, RESTART_FACTOR * self._longest_start_s))
        try:
            self._engine = self._build()
            await self._start_engine(limit_s)
        except Exception as error:
            logger.error("the engine cannot be started: %s", error)
            return False
        return True


def _freeze() -> None:
    """Exclude the present heap, mostly libraries, from garbage collections, which would pause all streams."""
    gc.collect()
    gc.freeze()
