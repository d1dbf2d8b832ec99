"""An event loop whose clock jumps to the next thing to do: nobody waits for what takes its time."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from unittest import mock

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Waits for nobody: moves the clock on instead."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits for something that will not happen"
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Threads' work is done at once, in this one."""

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
    """What it runs, runs in virtual time, which `time.monotonic()` tells meanwhile, too."""
    with (
        asyncio.Runner(loop_factory=VirtualTimeLoop) as runner,
        mock.patch.object(time, "monotonic", runner.get_loop().time),
    ):
        yield runner


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run()`, in virtual time."""
    with virtual_time() as runner:
        return runner.run(main)
