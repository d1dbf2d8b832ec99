"""Graceful shutdown of a server whose scheduler fails or hangs."""

from __future__ import annotations

import asyncio
import signal
from typing import Any, cast

import pytest
import uvicorn
from anytime_server.server import shutdown
from anytime_server.server.shutdown import GracefulServer


class FaultyScheduler:
    """Raises in one method."""

    active = (object(),)

    def __init__(self, faulty: str) -> None:
        self._faulty = faulty

    def drain(self, *, grace_s: float) -> None:
        self._check("drain")

    async def drained(self) -> None:
        self._check("drained")

    def _check(self, name: str) -> None:
        if name == self._faulty:
            raise ZeroDivisionError(f"{name} fails")


@pytest.mark.parametrize("faulty", ["drain", "drained"])
async def test_a_failed_drain_is_logged_and_ends_the_server(
    faulty: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = GracefulServer(uvicorn.Config(lambda: None), cast(Any, FaultyScheduler(faulty)), drain_s=0)
    server.handle_exit(signal.SIGTERM, None)
    async with asyncio.timeout(5):
        while not server.should_exit:
            await asyncio.sleep(0.01)
    assert "the drain failed" in caplog.text
    assert f"ZeroDivisionError: {faulty} fails" in caplog.text


class HangingScheduler:
    """Never drains."""

    active = (object(),)

    def __init__(self) -> None:
        self.grace_s: list[float] = []

    def drain(self, *, grace_s: float) -> None:
        self.grace_s.append(grace_s)

    async def drained(self) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize(("drain_s", "num_signals"), [(0.1, 1), (300, 2)])
async def test_a_drain_that_hangs_ends_in_time(
    drain_s: float, num_signals: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown, "FLUSH_S", 0.1)
    scheduler = HangingScheduler()
    server = GracefulServer(uvicorn.Config(lambda: None), cast(Any, scheduler), drain_s=drain_s)
    for _ in range(num_signals):
        server.handle_exit(signal.SIGTERM, None)
    async with asyncio.timeout(5):
        while not server.should_exit:
            await asyncio.sleep(0.01)
    assert scheduler.grace_s[-1] in (drain_s, 0)
    assert "requests did not end in time" in caplog.text
