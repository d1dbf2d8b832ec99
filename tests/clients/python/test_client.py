"""The client against replayed sessions: every stream ends in an answer or in one of its errors."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from anytime_client.client import Client
from anytime_client.errors import (
    ClientError,
    RequestRefused,
    ServerUnreachable,
    SessionFailed,
    StreamInterrupted,
)

THINK = "/v1/anytime"
ANSWER = "/v1/anytime/any-1/answer"


@pytest.fixture
def client(server: Any) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


@pytest.fixture
def nowhere() -> str:
    """An address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def refusal(message: str) -> bytes:
    return json.dumps({"error": {"code": "invalid_request", "message": message, "field": "budget"}}).encode()


def test_a_session_is_yielded_to_its_end(server: Any, client: Client, recording_done: bytes) -> None:
    server.reply(THINK, recording_done)
    events = list(client.think("7-3", budget=6))
    assert [event["type"] for event in events] == (
        ["started"] + ["thinking"] * 6 + ["answer.started"] + ["answer.delta"] * 8 + ["answer.done", "done"]
    )
    assert "".join(event["text"] for event in events if event["type"] == "answer.delta") == "x = 42 €"
    assert events[-1]["answer"] == "x = 42 €"
    assert events[-1]["stop"] == {"cause": "budget", "budget_tokens": 6, "thinking_tokens": 6}


def test_the_question_is_put_as_the_interface_says(
    server: Any, client: Client, recording_done: bytes
) -> None:
    server.reply(THINK, recording_done)
    list(client.think("7-3 €", budget={"tokens": 6, "deadline_ms": 500}, thinking={"seed": 1}))
    [(path, body)] = server.requests
    assert path == THINK
    assert json.loads(body) == {
        "messages": [{"role": "user", "content": "7-3 €"}],
        "budget": {"tokens": 6, "deadline_ms": 500},
        "thinking": {"seed": 1},
        "stream": True,
    }


def test_events_come_as_they_are_sent(server: Any, client: Client, recording_done: bytes) -> None:
    """The last piece is sent only after the button was pressed, on seeing the first."""
    started, rest = recording_done.split(b"\n\n", maxsplit=1)
    server.reply(THINK, started + b"\n\n", rest, waits_for=ANSWER)
    server.reply(ANSWER, b"{}", status=202, content_type="application/json")
    events = client.think("7-3")
    assert next(events)["type"] == "started"
    assert client.answer_now("any-1")
    assert list(events)[-1]["type"] == "done"


def test_nothing_is_read_after_done(server: Any, client: Client, recording_done: bytes) -> None:
    server.reply(THINK, recording_done, b'event: error\ndata: {"error": {"message": "late"}}\n\n')
    assert list(client.think("7-3"))[-1]["type"] == "done"


def test_a_stream_torn_into_bytes_is_the_same(server: Any, client: Client, recording_done: bytes) -> None:
    server.reply(THINK, recording_done)
    whole = list(client.think("7-3"))
    server.reply(THINK, *(recording_done[i : i + 1] for i in range(len(recording_done))))
    assert list(client.think("7-3")) == whole


def test_events_of_a_later_version_pass_through(server: Any, client: Client, recording_done: bytes) -> None:
    server.reply(THINK, b'event: news\ndata: {"type": "news"}\n\n', recording_done)
    events = list(client.think("7-3"))
    assert [event["type"] for event in events[:2]] == ["news", "started"]
    assert events[-1]["type"] == "done"


def test_an_error_event_is_raised_with_its_message(
    server: Any, client: Client, recording_cancelled: bytes
) -> None:
    server.reply(THINK, recording_cancelled)
    events = client.think("7-3")
    assert next(events)["type"] == "started"
    with pytest.raises(SessionFailed, match=r"^the session was cancelled$"):
        next(events)


@pytest.mark.parametrize("breaks_off", [False, True], ids=["ends", "breaks-off"])
@pytest.mark.parametrize("num_events", [0, 1, 9, 17])
def test_a_stream_without_an_end_is_interrupted(
    server: Any, client: Client, recording_done: bytes, num_events: int, breaks_off: bool
) -> None:
    whole = recording_done.replace(b": ping\n\n", b"").split(b"\n\n")
    server.reply(
        THINK, b"".join(event + b"\n\n" for event in whole[:num_events]), b"event: d", breaks_off=breaks_off
    )
    events = client.think("7-3")
    for _ in range(num_events):
        next(events)
    with pytest.raises(StreamInterrupted):
        next(events)


@pytest.mark.parametrize(
    "garbage",
    [
        b"event: thinking\ndata: {\n\n",
        b"event: thinking\ndata: \xff\n\n",
        b"event: error\ndata: {}\n\n",
        b"event: error\ndata: []\n\n",
    ],
)
def test_what_is_no_event_of_ours_is_an_error_of_ours(server: Any, client: Client, garbage: bytes) -> None:
    server.reply(THINK, garbage)
    with pytest.raises(ClientError):
        list(client.think("7-3"))


def test_another_kind_of_server_is_no_answer(server: Any, client: Client) -> None:
    server.reply(THINK, b"<html><body>Welcome</body></html>", content_type="text/html")
    with pytest.raises(ClientError):
        list(client.think("7-3"))


@pytest.mark.parametrize("status", [400, 404, 422, 503])
def test_a_refusal_tells_what_the_server_said(server: Any, client: Client, status: int) -> None:
    message = "budget of 9 tokens is more than the model's window of 8"
    server.reply(THINK, refusal(message), status=status, content_type="application/json")
    with pytest.raises(RequestRefused, match=f"^{message}$"):
        list(client.think("7-3", budget=9))


@pytest.mark.parametrize("body", [b"", b"Bad Gateway", b"[]", b"{}", b'{"error": "x"}', b'{"error": null}'])
def test_a_refusal_in_other_words_tells_the_status(server: Any, client: Client, body: bytes) -> None:
    server.reply(THINK, body, status=502, content_type="text/plain")
    with pytest.raises(RequestRefused, match=r"^HTTP 502$"):
        list(client.think("7-3"))


def test_nobody_there_says_how_to_start_one(nowhere: str) -> None:
    with (
        Client(nowhere) as client,
        pytest.raises(ServerUnreachable, match=f"no server answers at {nowhere}; .*anytime serve"),
    ):
        list(client.think("7-3"))


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "", "http://[bad"])
def test_an_address_that_cannot_be_one_is_unreachable(url: str) -> None:
    with pytest.raises(ServerUnreachable), Client(url) as client:
        list(client.think("7-3"))


@pytest.mark.parametrize(("status", "stopped"), [(202, True), (404, False), (409, False)])
def test_the_button_tells_whether_it_did_anything(
    server: Any, client: Client, status: int, stopped: bool
) -> None:
    server.reply(ANSWER, b'{"id": "any-1", "at_tokens": 3}', status=status, content_type="application/json")
    assert client.answer_now("any-1") is stopped
    assert server.requests == [(ANSWER, b"")]


def test_the_button_can_be_refused(server: Any, client: Client) -> None:
    server.reply(ANSWER, refusal("the server is draining"), status=503, content_type="application/json")
    with pytest.raises(RequestRefused, match="the server is draining"):
        client.answer_now("any-1")


def test_the_button_needs_a_server(nowhere: str) -> None:
    with Client(nowhere) as client, pytest.raises(ServerUnreachable, match="no server answers"):
        client.answer_now("any-1")


def test_an_address_may_end_in_a_slash(server: Any, recording_done: bytes) -> None:
    server.reply(THINK, recording_done)
    with Client(server.url + "/") as client:
        assert list(client.think("7-3"))[-1]["type"] == "done"
