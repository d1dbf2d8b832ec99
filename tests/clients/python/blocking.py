"""A blocking adapter of the async client, so that one test covers both clients."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import uvloop
from anytime_client import AsyncClient, AsyncStream, Client

Connect = Callable[..., Any]
"""Creates a client, with the arguments of the client classes. The client is closed at the end of the test."""
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Blocking:
    """An async client or stream whose coroutines are run to completion."""

    def __init__(self, runner: asyncio.Runner, inner: AsyncClient | AsyncStream) -> None:
        self._runner = runner
        self._inner: Any = inner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, "aclose" if name == "close" else name)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            result = value(*args, **kwargs)
            if isinstance(result, AsyncStream):
                return Blocking(self._runner, result)
            return self._runner.run(result) if inspect.iscoroutine(result) else result

        return call

    def __enter__(self) -> Blocking:
        self._runner.run(self._inner.__aenter__())
        return self

    def __exit__(self, *exception: object) -> None:
        self._runner.run(self._inner.__aexit__(*exception))

    def __iter__(self) -> Blocking:
        return self

    def __next__(self) -> Any:
        try:
            return self._runner.run(self._inner.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None


@contextmanager
def connecting(kind: str) -> Generator[Connect]:
    """A `Connect` for one kind of client: "sync", or the name of an event loop in `LOOPS`."""
    clients: list[Any] = []
    with asyncio.Runner(loop_factory=LOOPS.get(kind)) as runner:

        def connect(*args: Any, **kwargs: Any) -> Any:
            if kind == "sync":
                clients.append(Client(*args, **kwargs))
            else:
                clients.append(Blocking(runner, AsyncClient(*args, **kwargs)))
            return clients[-1]

        yield connect
        for client in clients:
            client.close()
