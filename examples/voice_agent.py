"""A voice agent: the caller gets a reply in time, however long the model would like to think.

Every question has a deadline, for which the server truncates the thinking. The agent speaks a filler if the
answer has not started after a while. When the caller interrupts, it answers from the thinking so far.

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
    """Prints what happens, with the milliseconds since the caller stopped speaking."""

    began: float = field(default_factory=time.perf_counter)

    def log(self, event: str) -> None:
        print(f"{(time.perf_counter() - self.began) * 1000:6.0f} ms  {event}")


async def reply(client: AsyncClient, *, deadline_ms: int, filler_ms: int, interrupt_ms: int | None) -> None:
    """Answer the question by the deadline, and print what happens."""
    timeline = Timeline()
    timeline.log(f"caller: {QUESTION}")
    background = [asyncio.create_task(speak_filler(timeline, filler_ms))]
    try:
        await converse(client, timeline, background, deadline_ms=deadline_ms, interrupt_ms=interrupt_ms)
    except ClientError as error:
        timeline.log(f"agent: I am sorry, I cannot answer that now. ({error})")
    finally:
        for task in background:
            task.cancel()


async def converse(
    client: AsyncClient,
    timeline: Timeline,
    background: list[asyncio.Task[None]],
    *,
    deadline_ms: int,
    interrupt_ms: int | None,
) -> None:
    """Handle the events of the session; the `background` tasks are cancelled when the answer starts."""
    thinking = spoken = ""
    async with client.think(QUESTION, budget={"deadline_ms": deadline_ms}) as stream:
        async for event in stream:
            match event:
                case Started() if interrupt_ms is not None:
                    background.append(asyncio.create_task(interrupt(stream, timeline, interrupt_ms)))
                case Thinking(text=text):
                    thinking += text
                case AnswerStarted(cause=cause, at_tokens=at_tokens):
                    for task in background:
                        task.cancel()
                    timeline.log(f"(thinking, {at_tokens} tokens: {thinking!r}; stopped by: {cause})")
                case AnswerDelta(text=text):
                    spoken += text
                    timeline.log(f"agent: {spoken}")
                case Done(timing=timing):
                    in_time = "in time" if timing.total_s * 1000 <= deadline_ms else "late"
                    timeline.log(f"(done {in_time}: {timing.total_s * 1000:.0f} of {deadline_ms} ms)")
                case _:
                    pass


async def speak_filler(timeline: Timeline, after_ms: int) -> None:
    """Bridge the silence; cancelled when the answer starts."""
    await asyncio.sleep(after_ms / 1000)
    timeline.log("agent: One moment, let me see.")


async def interrupt(stream: AsyncStream, timeline: Timeline, after_ms: int) -> None:
    """An impatient caller. In a real agent the voice activity detection calls `answer_now`."""
    await asyncio.sleep(after_ms / 1000)
    timeline.log("caller: Well?")
    await stream.answer_now()


async def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate two calls: a patient and an impatient caller.")
    parser.add_argument("--deadline-ms", type=int, default=400, help="until the complete answer is due")
    parser.add_argument("--filler-ms", type=int, default=60, help="until the filler is spoken")
    parser.add_argument("--interrupt-ms", type=int, default=60, help="until the caller interrupts")
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
