"""Graceful shutdown of a server whose scheduler fails."""

from __future__ import annotations

import asyncio
import signal
from typing import Any, cast

import pytest
import uvicorn
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
