"""Waiting that ends at a moment which moves: at a deadline that is re-estimated, or at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol

CHECK_S = 0.05
"""Longest time between two looks at a clock."""


class Clock(Protocol):
    """Says when waiting must end."""

    def latest(self) -> float | None:
        """Event loop time by which it must end, as estimated now; None for no limit."""
        ...


class Interrupt:
    """Ends what is awaited by `run()` at the clock's latest time, or when fired."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timeout: asyncio.Timeout | None = None
        self._is_fired = False

    @property
    def has_expired(self) -> bool:
        """Whether it ended, or is about to end, what is awaited now."""
        return self._timeout is not None and self._timeout.expired()

    def fire(self) -> None:
        """End what is awaited now; nothing happens where nothing is."""
        self._is_fired = True
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time())

    def update(self) -> None:
        """Look at the clock again: its estimate may have changed."""
        if self._timeout is not None and not self._is_fired and not self._timeout.expired():
            self._timeout.reschedule(self._clock.latest())

    async def run(self, work: Awaitable[object]) -> bool:
        """Wait for `work`; returns whether it was done. Its errors are passed on, a `TimeoutError` too."""
        checking: asyncio.TimerHandle | None = None
        loop = asyncio.get_running_loop()

        def check() -> None:
            nonlocal checking
            self.update()
            checking = loop.call_later(CHECK_S, check)

        self._is_fired = False
        latest = self._clock.latest()
        timeout = asyncio.timeout_at(latest)
        try:
            async with timeout:
                self._timeout = timeout
                if latest is not None:
                    checking = loop.call_later(CHECK_S, check)
                await work
        except TimeoutError:
            if not timeout.expired():
                raise
            return False
        finally:
            self._timeout = None
            if checking is not None:
                checking.cancel()
        return True
