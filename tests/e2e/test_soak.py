"""A short soak test: requests of all kinds, many of them abandoned, leave nothing in the server.

`bench/soak.py` runs longer and measures memory as well.
"""

from __future__ import annotations

import psutil
from soak import soak

from ..servers import RealServer


async def test_requests_of_all_kinds_leave_nothing_in_the_server(
    demo_server: RealServer, nightly: bool
) -> None:
    server = psutil.Process(demo_server.process.pid)
    result = await soak(demo_server.url, server, seconds=60 if nightly else 3, users=6)
    assert result.faults == []
    assert result.unaccounted == 0
    assert set(result.outcomes) >= {"answered", "left", "cancelled"}
    assert len(result.dialects) == 4
    assert result.left == {
        "engine_requests": 0,
        "sessions_running": 0,
        "sessions_waiting": 0,
        "connections": 0,
    }
