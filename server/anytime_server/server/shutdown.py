"""Graceful shutdown: requests get time to end before the server disconnects their clients."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import math
import os
import socket
import time
from contextlib import suppress
from types import FrameType

import uvicorn

from anytime_server.engine.processes import kill_descendants
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.server.output import print_line

logger = logging.getLogger(__name__)

FLUSH_S = 2
"""Seconds after the drain in which clients can read the last events of their sessions."""
END_S = 20
"""Seconds for the interpreter to end after the server has."""


class GracefulServer(uvicorn.Server):
    """Drains at the first signal, cancels and disconnects at the second; the third ends the process at once.

    While it drains it goes on listening, so that new requests get 503 instead of a refused connection.
    """

    def __init__(
        self, config: uvicorn.Config, scheduler: Scheduler, *, drain_s: float, exit_s: float | None = None
    ) -> None:
        """
        Args:
            drain_s: seconds that running requests get to end.
            exit_s: seconds for the engine and the HTTP server to end after clients were disconnected, before
                this process is ended; None for no limit.
        """
        super().__init__(config)
        self.failure: BaseException | None = None
        """Why the server ended without a signal."""
        self._scheduler = scheduler
        self._drain_s = drain_s
        self._exit_s = exit_s
        self._drain_limit = asyncio.Timeout(None)
        self._num_signals = 0
        self._draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._num_signals += 1
        loop = asyncio.get_running_loop()
        if self._num_signals == 1:
            loop.call_soon_threadsafe(self._begin_drain, sig)
        elif self._num_signals == 2:
            loop.call_soon_threadsafe(self._cancel)
        else:
            try:
                kill_descendants(os.getpid())
            finally:
                os._exit(128 + sig)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._exit_s is not None:
            self._limit_exit((self.config.timeout_graceful_shutdown or 0) + self._exit_s)
        await super().shutdown(sockets)
        if self._exit_s is not None:
            self._limit_exit(END_S)

    def _limit_exit(self, seconds: float) -> None:
        """End this process after `seconds`, and print where each thread hangs."""
        with suppress(ValueError, OSError, RuntimeError):  # standard error is closed
            faulthandler.dump_traceback_later(seconds, exit=True)

    def fail(self, error: BaseException) -> None:
        """Exit because of an error: the model could not be loaded."""
        self.failure = error
        self._disconnect_clients(within_s=FLUSH_S)
        self.should_exit = True

    def _begin_drain(self, sig: int) -> None:
        self._draining = asyncio.create_task(self._drain(sig))

    async def _drain(self, sig: int) -> None:
        disconnect_at = time.monotonic() + self._drain_s + FLUSH_S
        try:
            self._announce()
            self._scheduler.drain(grace_s=self._drain_s)
            async with self._drain_limit:
                self._limit_drain(self._drain_s)
                await self._scheduler.drained()
        except Exception as error:
            if self._drain_limit.expired():
                logger.error("requests did not end in time; the server stops without them")
            else:
                logger.error("the drain failed; the server stops without it", exc_info=error)
        self._disconnect_clients(within_s=max(FLUSH_S, disconnect_at - time.monotonic()))
        super().handle_exit(sig, None)

    def _limit_drain(self, seconds: float) -> None:
        """Wait for cancelled requests only for a moment after these seconds."""
        with suppress(RuntimeError):  # it has not begun yet, or is over
            self._drain_limit.reschedule(asyncio.get_running_loop().time() + seconds + FLUSH_S)

    def _announce(self) -> None:
        if num_sessions := len(self._scheduler.active):
            print_line(
                f"Stopping: requests under way ({num_sessions}) get {self._drain_s:g} s; "
                "send the signal again to end them now."
            )
        else:
            print_line("Stopping.")

    def _disconnect_clients(self, *, within_s: float) -> None:
        """Disconnect the remaining clients, which sent incomplete requests or are slow readers."""
        loop = asyncio.get_running_loop()
        loop.call_later(FLUSH_S, self._disconnect_idle)
        loop.call_later(within_s, self._disconnect)
        self.config.timeout_graceful_shutdown = math.ceil(within_s) + FLUSH_S

    def _cancel(self) -> None:
        asyncio.get_running_loop().call_later(FLUSH_S, self._disconnect)
        self._drain_s = 0
        self._scheduler.drain(grace_s=0)
        self._limit_drain(0)

    def _disconnect_idle(self) -> None:
        """Disconnect clients that have read everything."""
        for connection in list(self.server_state.connections):
            if connection.transport.get_write_buffer_size() == 0:
                connection.transport.abort()

    def _disconnect(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
