"""Both clients: controls of a session, and ways to end it early."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest
from anytime_client import AsyncClient, Client, RequestRefused, StreamInterrupted

from .blocking import Connect
from .conftest import NEVER, Recording, ReplayServer
from .test_client import JSON, THINK, head, refusal


@pytest.mark.parametrize(("status", "stopped"), [(202, True), (404, False), (409, False)])
def test_answer_now_returns_whether_it_stopped_the_thinking(
    server: ReplayServer, connect: Connect, status: int, stopped: bool
) -> None:
    path = f"{THINK}/any-1/answer"
    server.reply(path, b'{"id": "any-1", "at_tokens": 3}', status=status, content_type=JSON)
    assert connect(server.url).answer_now("any-1") is stopped
    assert server.requests == [(path, b"")]


def test_extend_returns_the_new_budget(server: ReplayServer, connect: Connect) -> None:
    path = f"{THINK}/any-1/extend"
    body = b'{"id": "any-1", "budget_tokens": 24, "at_tokens": 3}'
    server.reply(path, body, status=202, content_type=JSON)
    client = connect(server.url)
    assert client.extend("any-1", 8) == 24
    assert server.requests == [(path, b'{"tokens":8}')]
    server.reply(path, refusal("the thinking is over"), status=409, content_type=JSON)
    with pytest.raises(RequestRefused, match="the thinking is over"):
        client.extend("any-1", 8)


@pytest.mark.parametrize("status", [204, 404])
def test_cancel_of_an_ended_session_is_no_error(server: ReplayServer, connect: Connect, status: int) -> None:
    server.reply(f"DELETE {THINK}/any-1", refusal("no session"), status=status, content_type=JSON)
    connect(server.url).cancel("any-1")
    assert server.requests == [(f"DELETE {THINK}/any-1", b"")]


@pytest.mark.parametrize("control", ["answer_now", "cancel"])
def test_refused_control_raises(server: ReplayServer, connect: Connect, control: str) -> None:
    for path in (f"{THINK}/any-1/answer", f"DELETE {THINK}/any-1"):
        server.reply(path, refusal("the server is broken"), status=500, content_type=JSON)
    with pytest.raises(RequestRefused, match="the server is broken"):
        getattr(connect(server.url), control)("any-1")


def test_session_id_is_escaped_in_the_path(server: ReplayServer, connect: Connect) -> None:
    assert connect(server.url).answer_now("../x y") is False
    assert server.requests == [(f"{THINK}/..%2Fx%20y/answer", b"")]


def test_control_before_started_raises(server: ReplayServer, connect: Connect, done: Recording) -> None:
    server.reply(THINK, done.wire)
    with connect(server.url).think("7-3") as stream:
        for control in (stream.answer_now, lambda: stream.extend(8), stream.cancel):
            with pytest.raises(RuntimeError, match="has not started"):
                control()


def test_cancel_ends_the_iteration_without_an_error(
    server: ReplayServer, connect: Connect, done: Recording
) -> None:
    server.reply(THINK, head(done, 3), b"", waits_for=NEVER)
    server.reply(f"DELETE {THINK}/{done.id}", status=204)
    with connect(server.url).think("7-3") as stream:
        next(stream)
        stream.cancel()
        assert list(stream) == []
    assert server.requests[-1] == (f"DELETE {THINK}/{done.id}", b"")
    server.wait_for_disconnect(THINK)


def test_failed_cancel_closes_the_stream_anyway(
    server: ReplayServer, connect: Connect, done: Recording
) -> None:
    server.reply(THINK, head(done, 3), b"", waits_for=NEVER)
    server.reply(f"DELETE {THINK}/{done.id}", refusal("no"), status=500, content_type=JSON)
    with connect(server.url).think("7-3") as stream:
        next(stream)
        with pytest.raises(RequestRefused):
            stream.cancel()
        assert list(stream) == []
    server.wait_for_disconnect(THINK)


def test_leaving_the_with_block_closes_the_connection(
    server: ReplayServer, connect: Connect, done: Recording
) -> None:
    server.reply(THINK, head(done, 3), b"", waits_for=NEVER)
    with connect(server.url).think("7-3") as stream:
        next(stream)
    server.wait_for_disconnect(THINK)
    assert list(stream) == []


def test_garbage_collected_stream_is_closed(server: ReplayServer, done: Recording) -> None:
    server.reply(THINK, head(done, 3), b"", waits_for=NEVER)
    with Client(server.url) as client:
        gc.disable()  # reference counting alone must close the stream
        try:
            for event in client.think("7-3"):
                assert event.type == "started"
                break
            server.wait_for_disconnect(THINK)
        finally:
            gc.enable()


def test_garbage_collected_async_stream_is_closed(
    server: ReplayServer, runner: asyncio.Runner, done: Recording
) -> None:
    server.reply(THINK, head(done, 3), b"", waits_for=NEVER)

    async def main() -> None:
        async with AsyncClient(server.url) as client:
            async for event in client.think("7-3"):
                assert event.type == "started"
                break
            await asyncio.to_thread(server.wait_for_disconnect, THINK)

    runner.run(main())


@pytest.mark.parametrize("method", ["close", "cancel", "close the client"])
def test_another_thread_can_close_a_stream_that_is_being_read(
    server: ReplayServer, done: Recording, method: str
) -> None:
    server.reply(THINK, head(done, 3), b"", waits_for=NEVER)
    server.reply(f"DELETE {THINK}/{done.id}", status=204)
    third, events = threading.Event(), list[Any]()
    with Client(server.url) as client:
        stream = client.think("7-3")

        def read() -> None:
            for event in stream:
                events.append(event.type)
                if len(events) == 3:
                    third.set()

        reader = threading.Thread(target=read)
        reader.start()
        assert third.wait(60)
        (client.close if method == "close the client" else getattr(stream, method))()
        reader.join(60)
        assert not reader.is_alive()
    assert events == ["started", "thinking", "thinking"]
    server.wait_for_disconnect(THINK)


@pytest.mark.parametrize("method", ["aclose", "cancel", "close the client"])
def test_another_task_can_close_a_stream_that_is_being_read(
    server: ReplayServer, runner: asyncio.Runner, done: Recording, method: str
) -> None:
    server.reply(THINK, head(done, 3), b"", waits_for=NEVER)
    server.reply(f"DELETE {THINK}/{done.id}", status=204)
    events = list[str]()

    async def main() -> None:
        third = asyncio.Event()
        async with AsyncClient(server.url) as client:
            stream = client.think("7-3")

            async def read() -> None:
                async for event in stream:
                    events.append(event.type)
                    if len(events) == 3:
                        third.set()

            reader = asyncio.create_task(read())
            await third.wait()
            await (client.aclose if method == "close the client" else getattr(stream, method))()
            await reader

    runner.run(main())
    assert events == ["started", "thinking", "thinking"]
    server.wait_for_disconnect(THINK)


def test_cancelling_the_reading_task_closes_the_connection(
    server: ReplayServer, runner: asyncio.Runner, done: Recording
) -> None:
    server.reply(THINK, head(done, 3), b"", waits_for=NEVER)

    async def main() -> None:
        async with AsyncClient(server.url) as client:
            stream = client.think("7-3")
            await anext(stream)
            reader = asyncio.create_task(stream.result())
            while not stream.thinking:
                await asyncio.sleep(0)
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            await asyncio.to_thread(server.wait_for_disconnect, THINK)
            with pytest.raises(StreamInterrupted, match="was cancelled"):
                await anext(stream)

    runner.run(main())


def test_closing_an_ended_stream_does_not_affect_other_streams(
    server: ReplayServer, connect: Connect, done: Recording
) -> None:
    """The ended stream returned its connection to the pool, and the other stream uses it."""
    server.reply(THINK, head(done, 3))
    server.reply(THINK, head(done, 3), done.wire[len(head(done, 3)) :], waits_for="resume", after=1)
    client = connect(server.url)
    ended = client.think("7-3")
    with pytest.raises(StreamInterrupted):
        ended.result()
    with client.think("7-3") as other:
        next(other)
        ended.close()
        server.record_request("resume", b"")
        assert other.result().id == done.id
    assert server.num_connections == 1


def test_close_ends_the_wait_before_a_retry(server: ReplayServer) -> None:
    server.reply(THINK, refusal("busy"), status=503, content_type=JSON, headers={"Retry-After": "60"})
    with Client(server.url) as client:
        stream, events = client.think("7-3"), list[Any]()
        reader = threading.Thread(target=lambda: events.extend(stream))
        reader.start()
        server.wait_for_request(THINK)
        stream.close()
        reader.join(30)
        assert not reader.is_alive()
    assert (events, len(server.requests)) == ([], 1)


def test_aclose_ends_the_wait_before_a_retry(server: ReplayServer, runner: asyncio.Runner) -> None:
    server.reply(THINK, refusal("busy"), status=503, content_type=JSON, headers={"Retry-After": "60"})

    async def main() -> None:
        async with AsyncClient(server.url) as client:
            stream = client.think("7-3")
            reader = asyncio.create_task(anext(stream, None))
            await asyncio.to_thread(server.wait_for_request, THINK)
            await stream.aclose()
            async with asyncio.timeout(30):
                assert await reader is None

    runner.run(main())
    assert len(server.requests) == 1
