"""A voice agent: the caller hears something in time, whatever the model still has to think about.

Every question has a deadline, for which the server cuts the thinking short. A filler is spoken if the answer
has not begun after a while, and when the caller interrupts, the agent answers with what it knows by then.

    python examples/voice_agent.py [--deadline-ms 400] [--filler-ms 60] [--interrupt-ms 60]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from dataclasses import dataclass, field

from anytime_client import (
    AnswerDelta,
    AnswerStarted,
    AsyncClient,
    AsyncStream,
    ClientError,
    Done,
    Started,
    Thinking,
)

URL = os.environ.get("ANYTIME_URL", "http://127.0.0.1:8000")
QUESTION = "What is the last digit of 3 minus 3 plus 1 plus 4 times 7, left to right?"


@dataclass(slots=True)
class Timeline:
    """Says what happens, with the milliseconds since the caller stopped speaking."""

    began: float = field(default_factory=time.perf_counter)

    def log(self, what: str) -> None:
        print(f"{(time.perf_counter() - self.began) * 1000:6.0f} ms  {what}")


async def reply(client: AsyncClient, *, deadline_ms: int, filler_ms: int, interrupt_ms: int | None) -> None:
    """Answer the question by the deadline, and log every step."""
    timeline = Timeline()
    timeline.log(f"caller: {QUESTION}")
    meanwhile = [asyncio.create_task(speak_filler(timeline, filler_ms))]
    try:
        await converse(client, timeline, meanwhile, deadline_ms=deadline_ms, interrupt_ms=interrupt_ms)
    except ClientError as error:
        timeline.log(f"agent: I am sorry, I cannot answer that now. ({error})")
    finally:
        for task in meanwhile:
            task.cancel()


async def converse(
    client: AsyncClient,
    timeline: Timeline,
    meanwhile: list[asyncio.Task[None]],
    *,
    deadline_ms: int,
    interrupt_ms: int | None,
) -> None:
    """The session, event by event; the tasks in `meanwhile` end when the answer begins."""
    thought = spoken = ""
    async with client.think(QUESTION, budget={"deadline_ms": deadline_ms}) as stream:
        async for event in stream:
            match event:
                case Started() if interrupt_ms is not None:
                    meanwhile.append(asyncio.create_task(interrupt(stream, timeline, interrupt_ms)))
                case Thinking(text=text):
                    thought += text
                case AnswerStarted(cause=cause, at_tokens=at_tokens):
                    for task in meanwhile:
                        task.cancel()
                    timeline.log(f"(thought {at_tokens} tokens: {thought!r}; stopped by: {cause})")
                case AnswerDelta(text=text):
                    spoken += text
                    timeline.log(f"agent: {spoken}")
                case Done(timing=timing):
                    in_time = "in time" if timing.total_s * 1000 <= deadline_ms else "late"
                    timeline.log(f"(done {in_time}: {timing.total_s * 1000:.0f} of {deadline_ms} ms)")
                case _:
                    pass


async def speak_filler(timeline: Timeline, after_ms: int) -> None:
    """A remark that fills the silence; cancelled when the answer begins."""
    await asyncio.sleep(after_ms / 1000)
    timeline.log("agent: One moment, let me see.")


async def interrupt(stream: AsyncStream, timeline: Timeline, after_ms: int) -> None:
    """The caller grows impatient. In a real agent the voice detection calls `answer_now`."""
    await asyncio.sleep(after_ms / 1000)
    timeline.log("caller: Well?")
    await stream.answer_now()


async def main() -> None:
    parser = argparse.ArgumentParser(description="Play a call: patient first, then impatient.")
    parser.add_argument("--deadline-ms", type=int, default=400, help="for the whole answer")
    parser.add_argument("--filler-ms", type=int, default=60, help="after which a filler is spoken")
    parser.add_argument("--interrupt-ms", type=int, default=60, help="after which the caller interrupts")
    arguments = parser.parse_args()
    async with AsyncClient(URL) as client:
        for interrupt_ms in (None, arguments.interrupt_ms):
            await reply(
                client,
                deadline_ms=arguments.deadline_ms,
                filler_ms=arguments.filler_ms,
                interrupt_ms=interrupt_ms,
            )


if __name__ == "__main__":
    asyncio.run(main())
