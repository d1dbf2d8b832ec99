"""The Python clients against real servers: what they say of themselves, and what a session leaves behind."""

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
from anytime_client import AnswerDone, Client, RequestRefused, SessionFailed, Thinking, async_client, client, sse

from ..clients.python.blocking import Connect, connecting
from ..servers import RealServer, start
from .native_api import engine_is_idle

QUESTION = "What is the last digit of 3 minus 3 plus 1 plus 4 times 7, left to right?"
SLOW = ("--engine", "scripted", "--scripted.seconds-per-token", "0.05", "--scripted.never-end", "true")
LONG = 900
"""Thinking tokens: most of the window, for 45 seconds."""


@pytest.fixture(params=["sync", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    with connecting(request.param) as connect:
        yield connect


@pytest.fixture(scope="module")
def slow_server(tiny_checkpoint: Path) -> Iterator[RealServer]:
    """One that thinks slowly enough to be talked to meanwhile, and never ends by itself."""
    server = start([*SLOW, "--model", str(tiny_checkpoint)])
    yield server
    server.stop()


def engine_becomes_idle(server: RealServer) -> None:
    async def wait() -> None:
        async with server.client() as client:
            await engine_is_idle(client)

    asyncio.run(wait())


@pytest.mark.parametrize("module", [client, async_client, sse], ids=lambda module: module.__name__)
def test_the_examples_are_true(real_server: RealServer, module: ModuleType) -> None:
    class Parser(doctest.DocTestParser):
        def parse(self, string: str, name: str = "<string>") -> list[str | doctest.Example]:
            return super().parse(string.replace("http://127.0.0.1:8000", real_server.url), name)

    names = vars(anytime_client) | vars(module)
    runner = doctest.DocTestRunner()
    for found in doctest.DocTestFinder(parser=Parser()).find(module, globs=names):
        runner.run(found)
    assert runner.summarize().failed == 0
    assert runner.tries > 0


def test_answers_on_the_way(demo_server: RealServer, connect: Connect) -> None:
    options = {"budget": 32, "budgets": [0, 4, 8], "thinking": {"seed": 4}}
    stream = connect(demo_server.url).think(QUESTION, **options)
    events = list(stream)
    assert (events[0].type, events[-1].type) == ("started", "done")
    result = stream.result()
    assert [answer.at_tokens for answer in result.answers] == [0, 4, 8, result.usage.thinking_tokens]
    assert result.answers[-1].text == result.answer == "5"
    assert result.thinking == "".join(event.text for event in events if isinstance(event, Thinking))
    assert [a.index for a in stream.answers] == [e.index for e in events if isinstance(e, AnswerDone)]


def test_a_result_is_what_the_server_gives_whole(demo_server: RealServer, connect: Connect) -> None:
    options = {"budget": 8, "thinking": {"seed": 4}}
    result = connect(demo_server.url).think(QUESTION, **options).result().model_dump(mode="json")
    body = {"messages": [{"role": "user", "content": QUESTION}], "stream": False, **options}
    whole = httpx2.post(f"{demo_server.url}/v1/anytime", json=body, timeout=60).json()
    once_only = ("id", "timing", "continuation", "usage")
    assert result.keys() == whole.keys()
    assert [result[f].keys() for f in ("timing", "usage")] == [whole[f].keys() for f in ("timing", "usage")]
    for each in (result, whole):
        for field in once_only:
            del each[field]
    assert result == whole


def test_thinking_on(real_server: RealServer, connect: Connect) -> None:
    ask = connect(real_server.url).think
    first = ask("7-3", budget=8, thinking={"seed": 1}).result()
    second = ask("7-3", budget=8, thinking={"seed": 1}, continuation=first.continuation).result()
    assert second.usage.prompt_tokens == first.usage.prompt_tokens + first.usage.thinking_tokens
    with pytest.raises(RequestRefused) as raised:
        ask("2+2", budget=8, continuation=first.continuation).result()
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
def test_a_refused_request_names_its_field(
    real_server: RealServer, connect: Connect, options: dict[str, object], field: str
) -> None:
    with pytest.raises(RequestRefused) as raised:
        connect(real_server.url).think("7-3", **options).result()
    assert (raised.value.status, raised.value.code, raised.value.field) == (422, "invalid_request", field)


def test_models(demo_server: RealServer, connect: Connect) -> None:
    [model] = connect(demo_server.url).models()
    assert model.id == "anytime-demo"
    assert model.max_model_len
    assert model.anytime["budgets"]


def test_answer_now(slow_server: RealServer, connect: Connect) -> None:
    with connect(slow_server.url).think("7-3", budget=LONG) as stream:
        for event in stream:
            if isinstance(event, Thinking) and event.total_tokens == 3:
                assert stream.answer_now() is True
    assert stream.result().stop.cause == "client"
    assert stream.result().stop.thinking_tokens < LONG
    assert stream.answer_now() is False


def test_extend(slow_server: RealServer, connect: Connect) -> None:
    with connect(slow_server.url).think("7-3", budget=LONG) as stream:
        for event in stream:
            if isinstance(event, Thinking) and event.total_tokens == 3:
                assert stream.extend(4) == LONG + 4
                assert stream.answer_now() is True
    assert stream.result().stop.budget_tokens == LONG + 4
    with pytest.raises(RequestRefused) as raised:
        stream.extend(4)
    assert raised.value.code == "unknown_session"


def test_cancel(slow_server: RealServer, connect: Connect) -> None:
    with connect(slow_server.url).think("7-3", budget=LONG) as stream:
        for event in stream:
            if isinstance(event, Thinking):
                stream.cancel()
    engine_becomes_idle(slow_server)


def test_a_session_that_somebody_else_cancels_fails(slow_server: RealServer, connect: Connect) -> None:
    client = connect(slow_server.url)
    stream = client.think("7-3", budget=LONG)
    next(stream)
    client.cancel(stream.id)
    with pytest.raises(SessionFailed) as raised:
        stream.result()
    assert raised.value.code == "cancelled"


def test_leaving_early_leaves_nothing_behind(slow_server: RealServer, connect: Connect) -> None:
    with connect(slow_server.url).think("7-3", budget=LONG, budgets=[2, 800]) as stream:
        while not stream.answers:
            next(stream)
    engine_becomes_idle(slow_server)


def test_answer_now_from_another_thread(slow_server: RealServer) -> None:
    thinks = threading.Event()
    with Client(slow_server.url) as client:
        stream = client.think("7-3", budget=LONG)

        def press() -> None:
            thinks.wait(60)
            assert stream.answer_now()

        presser = threading.Thread(target=press)
        presser.start()
        for event in stream:
            if isinstance(event, Thinking):
                thinks.set()
        presser.join()
        assert stream.result().stop.cause == "client"


def test_a_server_that_comes_up_meanwhile_is_found(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path
) -> None:
    """The connection is refused at first, and then perhaps the request, while it is loading."""
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
