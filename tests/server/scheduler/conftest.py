"""A short request, compilers, and helpers that submit requests and read events."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.scheduler.compile import RequestCompiler
from anytime_server.scheduler.prompts import SHORT_PROMPT
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.session import Runtime, Session, events
from anytime_server.session.continuation import ContinuationSigner
from anytime_server.session.latency import LatencyEstimator
from anytime_server.text.model import Model
from anytime_server.text.prompt import Prompt
from anytime_server.types import GenerateRequest

MESSAGES = [{"role": "user", "content": "7-3"}]
START_IDS = frozenset({7})
"""Tokens that calls start with, in the compilers' models."""


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


@pytest.fixture
def compiler_of(scripted: Callable[..., ScriptedEngine], tiny_model: Model) -> Callable[..., Any]:
    """Makes compilers on an engine with a window of 512 tokens; its tool parser reads no calls."""

    async def make(
        *, tools: bool = False, stops_loops: bool = False, **engine_options: Any
    ) -> RequestCompiler:
        engine = scripted(**engine_options)
        await engine.start()
        runtime = Runtime(
            engine=engine,
            model=tiny_model,
            latency=LatencyEstimator(),
            signer=ContinuationSigner(b"k" * 32, model="tiny", fingerprint="f"),
        )
        request_class = SimpleNamespace(model_validate=lambda fields: fields)
        model_tools: Any = SimpleNamespace(
            start_ids=START_IDS, keeps_special_tokens=False, format=None, imported=(object, request_class)
        )
        return RequestCompiler(runtime, tools=model_tools if tools else None, stops_loops=stops_loops)

    return make
