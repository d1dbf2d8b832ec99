"""Sessions on a scripted engine, a fake lease, and helpers that run sessions and read their events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from anytime_server.engine import Delta, EngineRequest
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.reasoning import Cause, SamplingOptions, TokenLimits
from anytime_server.session import AnswerOptions, CompiledRequest, Lease, Runtime, Session, SlotKind, events
from anytime_server.session.continuation import ContinuationSigner
from anytime_server.session.latency import LatencyEstimator
from anytime_server.text.model import Model
from anytime_server.text.prompt import Prompt
from anytime_server.text.tool_calls import ToolCallReader
from anytime_server.types import RequestContext

PROMPT_IDS = [257, 22, 12, 18, 259, 258, 260]


class FakeLease(Lease):
    """A lease with full slot kinds, answers ahead and a thinking limit as given."""

    def __init__(
        self, *, full: Sequence[SlotKind] = (), ahead: float = 0.0, limit: int | None = None
    ) -> None:
        self.full = full
        self.ahead = ahead
        self.limit = limit
        self.num_released = 0

    def slot(self, kind: SlotKind) -> AbstractAsyncContextManager[None]:
        return asyncio.Semaphore(0) if kind in self.full else super().slot(kind)

    def answers_ahead(self) -> float:
        return self.ahead

    def thinking_limit(self) -> int | None:
        return self.limit

    def release(self) -> None:
        self.num_released += 1


def parser_of(parse: Callable[[str], Any], **fields: Any) -> Any:
    """A parser of tool calls in a model's own syntax, which reads them with `parse`."""
    usual: dict[str, Any] = {
        "in_own_syntax": True,
        "start_ids": frozenset(),
        "keeps_special_tokens": False,
        "format": None,
        "max_calls": None,
    }
    parser: Any = SimpleNamespace(**usual | fields, parse=parse)
    parser.reader = partial(ToolCallReader, parser)
    return parser


@pytest.fixture(autouse=True)
async def no_error_is_lost() -> AsyncGenerator[None, None]:
    """A task whose error nobody retrieves would only be logged."""
    lost: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: lost.append(context))
    yield
    loop.set_exception_handler(None)
    assert not lost


@pytest.fixture
def open_session(scripted: Callable[..., ScriptedEngine], tiny_model: Model) -> Any:
    """Makes sessions on engines that play the given scripts; the test starts them."""

    async def make(
        *,
        budget_tokens: int = 50,
        deadline_s: float | None = None,
        cause: Cause = Cause.BUDGET,
        seed: int | None = 1,
        max_budget_tokens: int = 400,
        max_early_answers: int = 4,
        answer_options: AnswerOptions | None = None,
        fields: dict[str, Any] | None = None,
        latency: LatencyEstimator | None = None,
        lease: Lease | None = None,
        **script: Any,
    ) -> Session:
        engine = scripted(**script)
        await engine.start()
        request = CompiledRequest(
            id="any-1",
            prompt=Prompt(ids=PROMPT_IDS, is_open=True),
            limits=TokenLimits(
                budget_tokens=budget_tokens,
                answer_tokens=8,
                max_answer_tokens=8,
                room_tokens=max_budget_tokens + 8,
                deadline_s=deadline_s,
                cause=cause,
                max_budget_tokens=max_budget_tokens,
            ),
            thinking=SamplingOptions(temperature=0.6, top_p=0.95),
            answer=answer_options or AnswerOptions(),
            max_early_answers=max_early_answers,
            seed=seed,
            context=RequestContext(),
            **fields or {},
        )
        runtime = Runtime(
            engine=engine,
            model=tiny_model,
            latency=latency or LatencyEstimator(),
            signer=ContinuationSigner(b"0123456789abcdef", model="tiny", fingerprint="f"),
        )
        return Session(request, runtime, lease)

    return make


async def run_session(session: Session) -> list[events.Event]:
    session.start()
    return await collect(session)


async def collect(session: Session) -> list[events.Event]:
    return [event async for batch in session.read() for event in batch]


async def start_reading(session: Session) -> asyncio.Task[list[events.Event]]:
    """Start the session, collect its events in a task, and return once the engine has its first request."""
    session.start()
    reading = asyncio.create_task(collect(session))
    while num_engine_requests(session) == 0:
        await asyncio.sleep(0.001)
    return reading


def thinking_text(emitted: list[events.Event]) -> str:
    return "".join(event.text for event in emitted if isinstance(event, events.ThinkingDelta))


def set_first_token_s(session: Session, seconds: float) -> None:
    """Change the engine's time before the first token of later requests."""
    engine = session.runtime.engine
    assert isinstance(engine, ScriptedEngine)
    engine.script = engine.script.model_copy(update={"first_token_s": seconds})


def finished(session: Session) -> events.Done:
    assert session.done is not None
    return session.done


def num_engine_requests(session: Session) -> int:
    return session.runtime.engine.load().num_requests


def close_slowly(session: Session) -> tuple[asyncio.Event, asyncio.Event]:
    """Make the engine take 0.05 s to close a request.

    Returns:
        Events that are set when a close begins, and when it has ended.
    """
    generate, closing, closed = session.runtime.engine.generate, asyncio.Event(), asyncio.Event()

    async def slow_to_close(request: EngineRequest) -> AsyncGenerator[Delta, None]:
        async with aclosing(generate(request)) as deltas:
            try:
                async for delta in deltas:
                    yield delta
            finally:
                closing.set()
                await asyncio.sleep(0.05)
                closed.set()

    session.runtime.engine.generate = slow_to_close  # pyright: ignore[reportAttributeAccessIssue]
    return closing, closed
