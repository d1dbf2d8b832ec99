"""The events of several sessions, read as one stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from anytime_server.session import events
from anytime_server.session.event_queue import read_queues

if TYPE_CHECKING:
    from anytime_server.session.session import Session


async def read_sessions(
    sessions: Sequence[Session], *, idle_s: float | None = None
) -> AsyncGenerator[list[tuple[int, events.Event]], None]:
    """Batches of the events of several sessions as they come, each event with the index of its session.

    Ends once all sessions are done, or with the first failure. Closing it abandons those under way.

    Args:
        idle_s: seconds without an event after which an empty batch is yielded.
    """
    queues = [session.queue for session in sessions]
    batches = read_queues(queues, idle_s=idle_s, rest_s=sessions[0].lease.delta_interval_s)
    try:
        async with aclosing(batches):
            async for batch in batches:
                yield batch
    finally:
        for session in sessions:
            session.abandon()
