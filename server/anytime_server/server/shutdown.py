"""How a server stops: it lets requests end, and tells those that it cannot wait for."""

from __future__ import annotations

import asyncio
import math
import time
from types import FrameType

import uvicorn

from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.server.console import tell

LAST_WORDS_S = 2
"""Seconds, after the drain, that a client gets to hear how its session ended."""


class DrainingServer(uvicorn.Server):
    """Told once to stop, it drains; told again, it cancels and hangs up; a third time, it goes.

    While sessions are under way it goes on listening: who comes then is told that it stops.
    """

    def __init__(self, config: uvicorn.Config, service: Scheduler, *, drain_s: float) -> None:
        """
        Args:
            drain_s: seconds that requests under way get to end.
        """
        super().__init__(config)
        self._service = service
        self._drain_s = drain_s
        self._times_told = 0
        self._draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._times_told += 1
        loop = asyncio.get_running_loop()
        if self._times_told == 1:
            loop.call_soon_threadsafe(self._begin_to_drain, sig)
        elif self._times_told == 2:
            loop.call_soon_threadsafe(self._hurry)
        else:
            super().handle_exit(sig, frame)

    def _begin_to_drain(self, sig: int) -> None:
        if num_sessions := len(self._service.active):
            under_way = f"requests under way ({num_sessions}) get {self._drain_s:g} s"
            tell(f"Stopping: {under_way}; tell it again to end them now.")
        else:
            tell("Stopping.")
        self._draining = asyncio.create_task(self._drain(sig))

    async def _drain(self, sig: int) -> None:
        hang_up_at = time.monotonic() + self._drain_s + LAST_WORDS_S
        self._service.drain(grace_s=self._drain_s)
        await self._service.drained()
        self._end_connections(within_s=max(LAST_WORDS_S, hang_up_at - time.monotonic()))
        super().handle_exit(sig, None)

    def give_up(self) -> None:
        """Go: the model could not be loaded."""
        self._end_connections(within_s=LAST_WORDS_S)
        self.should_exit = True

    def _end_connections(self, *, within_s: float) -> None:
        """Those that are left: requests that have not fully come, and last events to be read."""
        loop = asyncio.get_running_loop()
        loop.call_later(LAST_WORDS_S, self._hang_up_idle)
        loop.call_later(within_s, self._hang_up)
        self.config.timeout_graceful_shutdown = math.ceil(within_s) + LAST_WORDS_S

    def _hurry(self) -> None:
        self._service.drain(grace_s=0)
        asyncio.get_running_loop().call_later(LAST_WORDS_S, self._hang_up)

    def _hang_up_idle(self) -> None:
        """Where nothing waits to be read."""
        for connection in list(self.server_state.connections):
            if connection.transport.get_write_buffer_size() == 0:
                connection.transport.abort()

    def _hang_up(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
