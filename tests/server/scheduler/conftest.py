"""A short request, and helpers that submit requests and read events."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from anytime_server.scheduler.prompts import SHORT_PROMPT
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.session import Session, events
from anytime_server.text.prompt import Prompt
from anytime_server.types import GenerateRequest

MESSAGES = [{"role": "user", "content": "7-3"}]


def request(**fields: Any) -> GenerateRequest:
    return GenerateRequest(messages=MESSAGES, **fields)


async def read_all(session: Session) -> list[events.Event]:
    return [event async for batch in session.read() for event in batch]


async def submit_slowly(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> tuple[asyncio.Task[Session], threading.Event]:
    """Submit a request whose long prompt is being encoded until the event is set."""
    encoding, go_on = threading.Event(), threading.Event()
    prompt = scheduler.model.prompt

    def encode_slowly(messages: Any, tools: Any = None, **options: Any) -> Prompt:
        encoding.set()
        assert go_on.wait(10)
        return prompt(MESSAGES)

    long = [{"role": "user", "content": "7" * (SHORT_PROMPT + 1)}]
    with monkeypatch.context() as patched:
        patched.setattr(scheduler.model, "prompt", encode_slowly)
        submission = asyncio.create_task(scheduler.submit(GenerateRequest(messages=long)))
        assert await asyncio.to_thread(encoding.wait, 10)
    return submission, go_on
