"""The Python clients against real servers: their documented examples, results, controls and cleanup."""

from __future__ import annotations

import asyncio
import doctest
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import anytime_client
import httpx2
import pytest
from anytime_client import (
    AnswerDone,
    Client,
    RequestRefused,
    SessionFailed,
    Thinking,
    async_client,
    client,
    sse,
)

from ..clients.python.blocking import Connect, connecting
from ..servers import RealServer, start
from .native_api import engine_is_idle

QUESTION = "What is the last digit of 3 minus 3 plus 1 plus 4 times 7, left to right?"
SLOW = ("--engine", "scripted", "--scripted.seconds-per-token", "0.05", "--scripted.never-end", "true")
LONG_BUDGET = 900
"""Most of the context window: 45 seconds of thinking on the slow server."""


@pytest.fixture(params=["sync", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    with connecting(request.param) as connect:
        yield connect


@pytest.fixture(scope="module")
def slow_server(tiny_checkpoint: Path) -> Iterator[RealServer]:
    """A server that thinks slowly enough for controls to be sent, and never ends the thinking itself."""
    server = start([*SLOW, "--model", str(tiny_checkpoint)])
    yield server
    server.stop()


def wait_until_engine_is_idle(server: RealServer) -> None:
    async def wait() -> None:
        async with server.client() as client:
            await engine_is_idle(client)

    asyncio.run(wait())


@pytest.mark.parametrize("module", [client, async_client, sse], ids=lambda module: module.__name__)
def test_docstring_examples_pass(real_server: RealServer, module: ModuleType) -> None:
    class Parser(doctest.DocTestParser):
        def parse(self, string: str, name: str = "<string>") -> list[str | doctest.Example]:
            return super().parse(string.replace("http://127.0.0.1:8000", real_server.url), name)

    names = vars(anytime_client) | vars(module)
    runner = doctest.DocTestRunner()
    for found in doctest.DocTestFinder(parser=Parser()).find(module, globs=names):
        runner.run(found)
    assert runner.summarize().failed == 0
    assert runner.tries > 0


def test_early_answers_at_several_budgets(demo_server: RealServer, connect: Connect) -> None:
    options = {"budget": 32, "budgets": [0, 4, 8], "thinking": {"seed": 4}}
    stream = connect(demo_server.url).think(QUESTION, **options)
    events = list(stream)
    assert (events[0].type, events[-1].type) == ("started", "done")
    result = stream.result()
    assert [answer.at_tokens for answer in result.answers] == [0, 4, 8, result.usage.thinking_tokens]
    assert result.answers[-1].text == result.answer == "5"
    assert result.thinking == "".join(event.text for event in events if isinstance(event, Thinking))
    assert [a.index for a in stream.answers] == [e.index for e in events if isinstance(e, AnswerDone)]


def test_result_equals_the_unstreamed_response(demo_server: RealServer, connect: Connect) -> None:
    options = {"budget": 8, "thinking": {"seed": 4}}
    result = connect(demo_server.url).think(QUESTION, **options).result().model_dump(mode="json")
    body = {"messages": [{"role": "user", "content": QUESTION}], "stream": False, **options}
    whole = httpx2.post(f"{demo_server.url}/v1/anytime", json=body, timeout=60).json()
    differing = ("id", "timing", "continuation", "usage")
    assert result.keys() == whole.keys()
    assert [result[f].keys() for f in ("timing", "usage")] == [whole[f].keys() for f in ("timing", "usage")]
    for each in (result, whole):
        for field in differing:
            del each[field]
    assert result == whole


def test_continuation_resumes_the_thinking(real_server: RealServer, connect: Connect) -> None:
    think = connect(real_server.url).think
    first = think("7-3", budget=8, thinking={"seed": 1}).result()
    second = think("7-3", budget=8, thinking={"seed": 1}, continuation=first.continuation).result()
    assert second.usage.prompt_tokens == first.usage.prompt_tokens + first.usage.thinking_tokens
    with pytest.raises(RequestRefused) as raised:
        think("2+2", budget=8, continuation=first.continuation).result()
    assert (raised.value.status, raised.value.field) == (422, "continuation")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"budget": -1}, "budget"),
        ({"budget": {"tokens": 1, "token": 1}}, "budget.token"),
        ({"answer": {"temperature": 3.0}}, "answer.temperature"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_refused_request_names_its_field(
    real_server: RealServer, connect: Connect, options: dict[str, object], field: str
) -> None:
    with pytest.raises(RequestRefused) as raised:
        connect(real_server.url).think("7-3", **options).result()
    assert (raised.value.status, raised.value.code, raised.value.field) == (422, "invalid_request", field)


def test_models_lists_the_served_model(demo_server: RealServer, connect: Connect) -> None:
    [model] = connect(demo_server.url).models()
    assert model.id == "anytime-demo"
    assert model.max_model_len
    assert model.anytime["budgets"]


def test_answer_now_stops_the_thinking(slow_server: RealServer, connect: Connect) -> None:
    with connect(slow_server.url).think("7-3", budget=LONG_BUDGET) as stream:
        for event in stream:
            if isinstance(event, Thinking) and event.total_tokens == 3:
                assert stream.answer_now() is True
    assert stream.result().stop.cause == "client"
    assert stream.result().stop.thinking_tokens < LONG_BUDGET
    assert stream.answer_now() is False


def test_extend_raises_the_budget(slow_server: RealServer, connect: Connect) -> None:
    with connect(slow_server.url).think("7-3", budget=LONG_BUDGET) as stream:
        for event in stream:
            if isinstance(event, Thinking) and event.total_tokens == 3:
                assert stream.extend(4) == LONG_BUDGET + 4
                assert stream.answer_now() is True
    assert stream.result().stop.budget_tokens == LONG_BUDGET + 4
    with pytest.raises(RequestRefused) as raised:
        stream.extend(4)
    assert raised.value.code == "unknown_session"


def test_cancel_frees_the_engine(slow_server: RealServer, connect: Connect) -> None:
    with connect(slow_server.url).think("7-3", budget=LONG_BUDGET) as stream:
        for event in stream:
            if isinstance(event, Thinking):
                stream.cancel()
    wait_until_engine_is_idle(slow_server)


def test_session_cancelled_by_another_client_fails(slow_server: RealServer, connect: Connect) -> None:
    client = connect(slow_server.url)
    stream = client.think("7-3", budget=LONG_BUDGET)
    next(stream)
    client.cancel(stream.id)
    with pytest.raises(SessionFailed) as raised:
        stream.result()
    assert raised.value.code == "cancelled"


def test_leaving_the_with_block_frees_the_engine(slow_server: RealServer, connect: Connect) -> None:
    with connect(slow_server.url).think("7-3", budget=LONG_BUDGET, budgets=[2, 800]) as stream:
        while not stream.answers:
            next(stream)
    wait_until_engine_is_idle(slow_server)


def test_answer_now_from_another_thread(slow_server: RealServer) -> None:
    thinking = threading.Event()
    with Client(slow_server.url) as client:
        stream = client.think("7-3", budget=LONG_BUDGET)

        def answer_now() -> None:
            thinking.wait(60)
            assert stream.answer_now()

        thread = threading.Thread(target=answer_now)
        thread.start()
        for event in stream:
            if isinstance(event, Thinking):
                thinking.set()
        thread.join()
        assert stream.result().stop.cause == "client"


def test_retries_reach_a_server_that_is_starting(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path
) -> None:
    """At first the connection is refused; then possibly the request, while the model is loading."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    starting = threading.Thread(
        target=start_server, args=("--port", str(port), *SLOW, "--model", str(tiny_checkpoint))
    )
    starting.start()
    with Client(f"http://127.0.0.1:{port}", max_retries=100) as client:
        assert client.think("7-3", budget=2).result().thinking
    starting.join()
