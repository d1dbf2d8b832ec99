"""An event loop whose clock jumps to the next scheduled call, so that no test waits for time to pass."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock


class _Selector(selectors.SelectSelector):
    """Advances the clock instead of waiting."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "all tasks wait, and no call is scheduled"
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Runs the work of threads at once, in its own thread."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        future = self.create_future()
        future.set_result(func(*args))
        return future


@contextmanager
def virtual_time() -> Iterator[asyncio.Runner]:
    """A runner in virtual time. `time.monotonic()` returns the virtual time, too, until the block ends."""
    with (
        asyncio.Runner(loop_factory=VirtualTimeLoop) as runner,
        mock.patch.object(time, "monotonic", runner.get_loop().time),
    ):
        yield runner
