"""Deadlines after a freeze"""

from __future__ import annotations

import asyncio
import signal

import httpx2
import pytest
from anytime_server.session.latency import MOMENT_S

from ..e2e.native_api import think
from ..servers import RealServer
from .matrix import attack
from .streams import send_to_engine

pytestmark = pytest.mark.xdist_group("attacked_server")
BUDGET = {"tokens": 20, "deadline_ms": 1500}


@attack(
    done="the engine is suspended for 2 s under ten requests with a deadline of 0.3 s; then 20 with 1.5 s",
    client="all answers come; at most the first five of the 20 do not think",
    left="nothing: the freeze does not count in the estimates",
)
async def test_requests_after_a_freeze_think(client: httpx2.AsyncClient, attacked_server: RealServer) -> None:
    for _ in range(8):  # in as many moments, so that a slow one does not count
        await think(client, budget=BUDGET)
        await asyncio.sleep(MOMENT_S)
    send_to_engine(attacked_server, signal.SIGSTOP)
    frozen = [asyncio.create_task(think(client, budget={"deadline_ms": 300})) for _ in range(10)]
    await asyncio.sleep(2)
    send_to_engine(attacked_server, signal.SIGCONT)
    assert all(done["answer"] for done in await asyncio.gather(*frozen))
    after = [await think(client, budget=BUDGET) for _ in range(20)]
    assert all(done["answer"] for done in after)
    assert all(done["stop"]["thinking_tokens"] > 0 for done in after[5:])
