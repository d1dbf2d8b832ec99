"""Both clients against replayed sessions: every stream ends in an answer or in one of the client's errors."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import time
from email.utils import formatdate

import pytest
from anytime_client import (
    AnswerDone,
    Client,
    ClientError,
    RequestRefused,
    ServerUnreachable,
    SessionFailed,
    StreamInterrupted,
    TimedOut,
)

from .blocking import Connect
from .conftest import NEVER, Recording, ReplayServer

THINK = "/v1/anytime"
JSON = "application/json"


def refusal(message: str) -> bytes:
    return json.dumps({"error": {"code": "invalid_request", "message": message, "field": "budget"}}).encode()


def head(recording: Recording, num_events: int) -> bytes:
    """The bytes of the first events of a recording."""
    events = recording.wire.replace(b": ping\n\n", b"").split(b"\n\n")
    return b"".join(event + b"\n\n" for event in events[:num_events])


def test_result_equals_the_recorded_session(
    server: ReplayServer, connect: Connect, recording: Recording
) -> None:
    server.reply(THINK, recording.wire)
    stream = connect(server.url).think("7-3", budget=6)
    if recording.error is None:
        assert stream.result().model_dump(mode="json") == recording.result
        assert stream.id == recording.id
    else:
        with pytest.raises(SessionFailed, match=f"^{recording.error['message']}$") as raised:
            stream.result()
        assert raised.value.code == recording.error["code"]


def test_stream_sent_byte_by_byte_gives_the_same_events(
    server: ReplayServer, connect: Connect, early_answers: Recording
) -> None:
    server.reply(THINK, *(early_answers.wire[i : i + 1] for i in range(len(early_answers.wire))))
    stream = connect(server.url).think("7-3")
    events = [json.loads(event.model_dump_json(exclude_unset=True)) for event in stream]
    assert events == early_answers.events


def test_unset_options_are_not_sent(server: ReplayServer, connect: Connect, done: Recording) -> None:
    server.reply(THINK, done.wire)
    connect(server.url).think("7-3 €", model=None).result()
    [(path, body)] = server.requests
    assert path == THINK
    assert json.loads(body) == {"messages": [{"role": "user", "content": "7-3 €"}], "stream": True}


def test_options_are_sent_under_their_names(server: ReplayServer, connect: Connect, done: Recording) -> None:
    server.reply(THINK, done.wire)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "7-3"}]
    options = {
        "model": "tiny",
        "budget": {"tokens": 6, "deadline_ms": 500},
        "budgets": [0, 2],
        "stop_when": {"stable": 2, "every_tokens": 8},
        "answer": {"max_tokens": 4, "response_format": {"type": "json_object"}},
        "thinking": {"seed": 1},
        "continuation": "a1.x",
    }
    connect(server.url).think(messages, **options).result()
    [(_, body)] = server.requests
    assert json.loads(body) == {"messages": messages, "stream": True, **options}


def test_request_is_sent_when_the_stream_is_first_used(
    server: ReplayServer, connect: Connect, done: Recording
) -> None:
    server.reply(THINK, done.wire)
    stream = connect(server.url).think("7-3")
    assert (server.requests, stream.id, stream.thinking, stream.answers) == ([], None, "", [])
    with stream:
        assert len(server.requests) == 1
        assert stream.id is None
        next(stream)
        assert stream.id == done.id


def test_closed_stream_sends_no_request(server: ReplayServer, connect: Connect) -> None:
    stream = connect(server.url).think("7-3")
    stream.close()
    with stream:
        assert list(stream) == []
    with pytest.raises(StreamInterrupted, match="closed before"):
        stream.result()
    assert server.requests == []


def test_api_key_and_headers_are_sent(server: ReplayServer, connect: Connect, done: Recording) -> None:
    server.reply(THINK, done.wire)
    connect(server.url, "a key", headers={"X-Team": "blue"}).think("7-3").result()
    [headers] = server.headers
    assert (headers["Authorization"], headers["X-Team"]) == ("Bearer a key", "blue")


def test_authorization_header_overrides_the_api_key(
    server: ReplayServer, connect: Connect, done: Recording
) -> None:
    server.reply(THINK, done.wire)
    connect(server.url, "a key", headers={"authorization": "Basic x"}).think("7-3").result()
    [headers] = server.headers
    sent = [value for name, value in headers.items() if name.lower() == "authorization"]
    assert sent == ["Basic x"]


@pytest.mark.parametrize("ending", ["/", "/v1", "/v1/"])
def test_url_may_end_in_slash_or_v1(
    server: ReplayServer, connect: Connect, done: Recording, ending: str
) -> None:
    server.reply(THINK, done.wire)
    assert connect(server.url + ending).think("7-3").result().answer == done.events[-1]["answer"]


def test_events_arrive_while_the_stream_is_open(
    server: ReplayServer, connect: Connect, done: Recording
) -> None:
    """The server sends the rest only after `answer_now`, which follows the first event."""
    answer_now = f"{THINK}/{done.id}/answer"
    server.reply(THINK, head(done, 1), done.wire.split(b"\n\n", 1)[1], waits_for=answer_now)
    server.reply(answer_now, b"{}", status=202, content_type=JSON)
    stream = connect(server.url).think("7-3")
    assert next(stream).type == "started"
    assert stream.answer_now() is True
    assert list(stream)[-1].type == "done"


@pytest.mark.parametrize("disconnects", [False, True], ids=["ends", "disconnects"])
@pytest.mark.parametrize("num_events", [0, 1, 4, 9])
def test_stream_without_terminal_event_is_interrupted(
    server: ReplayServer, connect: Connect, early_answers: Recording, num_events: int, disconnects: bool
) -> None:
    server.reply(THINK, head(early_answers, num_events), b"event: d", disconnects=disconnects)
    stream = connect(server.url).think("7-3")
    for _ in range(num_events):
        next(stream)
    with pytest.raises(StreamInterrupted) as raised:
        next(stream)
    error = raised.value
    assert (error.id, error.thinking, list(error.answers)) == (stream.id, stream.thinking, stream.answers)
    assert len(error.answers) == sum(e["type"] == "answer.done" for e in early_answers.events[:num_events])
    assert len(server.requests) == 1


def test_response_of_another_kind_of_server_is_an_error(server: ReplayServer, connect: Connect) -> None:
    server.reply(THINK, b"<html><body>Welcome</body></html>", content_type="text/html")
    with pytest.raises(StreamInterrupted):
        connect(server.url).think("7-3").result()
    server.reply("GET /v1/models", b"<html>", content_type="text/html")
    with pytest.raises(RequestRefused, match="not an Anytime server"):
        connect(server.url).models()


@pytest.mark.parametrize("status", [400, 404, 422, 500])
def test_refusal_carries_the_servers_error(server: ReplayServer, connect: Connect, status: int) -> None:
    message = "budget of 9 tokens is more than the model's window of 8"
    headers = {"X-Request-Id": "any-1"}
    server.reply(THINK, refusal(message), status=status, content_type=JSON, headers=headers)
    with (
        pytest.raises(RequestRefused, match=f"^{message}$") as raised,
        connect(server.url).think("7-3", budget=9),
    ):
        pytest.fail("entered")
    error = raised.value
    assert (error.status, error.code, error.field) == (status, "invalid_request", "budget")
    assert (error.request_id, error.retry_after_s) == ("any-1", None)
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b"", b"Bad Gateway", b"[]", b"{}", b'{"error": "x"}', b'{"error": null}'])
def test_refusal_with_an_unknown_body_carries_the_status(
    server: ReplayServer, connect: Connect, body: bytes
) -> None:
    server.reply(THINK, body, status=502, content_type="text/html")
    with pytest.raises(RequestRefused, match=r"^HTTP 502$") as raised:
        connect(server.url).think("7-3").result()
    assert raised.value.code is None


def test_refusal_in_plain_text_carries_the_text(server: ReplayServer, connect: Connect) -> None:
    server.reply(THINK, b"too many connections", status=503, content_type="text/plain")
    with pytest.raises(RequestRefused, match=r"^HTTP 503: too many connections$"):
        connect(server.url, max_retries=0).think("7-3").result()


@pytest.mark.parametrize("status", [429, 503])
def test_request_refused_with_429_or_503_is_retried(
    server: ReplayServer, connect: Connect, done: Recording, status: int
) -> None:
    server.reply(THINK, refusal("busy"), status=status, content_type=JSON, headers={"Retry-After": "0"})
    server.reply(THINK, done.wire, after=1)
    assert connect(server.url).think("7-3").result().id == done.id
    assert [path for path, _ in server.requests] == [THINK, THINK]


def test_retries_stop_at_max_retries(server: ReplayServer, connect: Connect) -> None:
    server.reply(THINK, refusal("busy"), status=503, content_type=JSON, headers={"Retry-After": "0"})
    with pytest.raises(RequestRefused, match="busy"):
        connect(server.url, max_retries=3).think("7-3").result()
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [
        ("3600", 3600, 3600),
        (formatdate(time.time() + 9_000, usegmt=True), 1, 9_000),
        ("soon", None, None),
    ],
    ids=["seconds", "date", "nonsense"],
)
def test_retry_after_is_parsed(
    server: ReplayServer, connect: Connect, retry_after: str, least: float | None, most: float | None
) -> None:
    headers = {"Retry-After": retry_after}
    server.reply(THINK, refusal("busy"), status=503, content_type=JSON, headers=headers)
    with pytest.raises(RequestRefused) as raised:
        connect(server.url, max_retries=0).think("7-3").result()
    retry_after_s = raised.value.retry_after_s
    if least is None or most is None:
        assert retry_after_s is None
    else:
        assert retry_after_s is not None
        assert least <= retry_after_s <= most


def test_unreachable_server_error_says_how_to_start_a_server(connect: Connect, unreachable_url: str) -> None:
    client = connect(unreachable_url, max_retries=0)
    message = f"no server answers at {unreachable_url}; .*anytime serve"
    for call in (client.think("7-3").result, lambda: client.answer_now("any-1"), client.models):
        with pytest.raises(ServerUnreachable, match=message):
            call()


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "", "http://[::1"])
def test_invalid_url_raises_at_construction(connect: Connect, url: str) -> None:
    with pytest.raises(ServerUnreachable, match="is not a valid address"):
        connect(url)


@pytest.mark.parametrize("api_key", ["", " ", "secret\n", "secr\u00e9t"])
def test_invalid_api_key_raises_without_showing_the_key(connect: Connect, api_key: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII") as raised:
        connect("http://127.0.0.1:1", api_key)
    assert "secr" not in str(raised.value)


def test_silence_interrupts_the_stream(server: ReplayServer, connect: Connect, done: Recording) -> None:
    server.reply(THINK, head(done, 2), b"", waits_for=NEVER)
    stream = connect(server.url, silence_timeout_s=0.5).think("7-3")
    assert next(stream).type == "started"
    with pytest.raises(StreamInterrupted, match=r"silent for 0\.5 s") as raised:
        stream.result()
    assert raised.value.id == stream.id == done.id
    server.wait_for_disconnect(THINK)


@pytest.mark.parametrize("where", ["client", "call"])
def test_session_past_timeout_s_times_out(
    server: ReplayServer, connect: Connect, done: Recording, where: str
) -> None:
    server.reply(THINK, head(done, 2), b"", waits_for=NEVER)
    of_client, of_call = ({"timeout_s": 0.5}, {}) if where == "client" else ({}, {"timeout_s": 0.5})
    stream = connect(server.url, **of_client).think("7-3", **of_call)
    assert next(stream).type == "started"
    with pytest.raises(TimedOut, match="took longer"):
        stream.result()
    server.wait_for_disconnect(THINK)


def test_session_within_timeout_s_does_not_time_out(
    server: ReplayServer, connect: Connect, done: Recording
) -> None:
    server.reply(THINK, done.wire)
    assert connect(server.url, timeout_s=60.0).think("7-3").result().id == done.id


def test_models(server: ReplayServer, connect: Connect) -> None:
    card = {"id": "tiny", "object": "model", "max_model_len": 512, "anytime": {"budgets": [8]}}
    server.reply("GET /v1/models", json.dumps({"data": [card]}).encode(), content_type=JSON)
    [model] = connect(server.url).models()
    assert (model.id, model.max_model_len, model.anytime) == ("tiny", 512, {"budgets": [8]})


def test_garbage_collected_client_closes_its_connections(server: ReplayServer) -> None:
    """A connection left open would fail the test with a ResourceWarning."""
    server.reply("GET /v1/models", b'{"data": []}', content_type=JSON)
    assert Client(server.url).models() == []
    gc.collect()


def test_result_is_available_after_iterating(
    server: ReplayServer, connect: Connect, early_answers: Recording
) -> None:
    server.reply(THINK, early_answers.wire)
    with connect(server.url).think("7-3") as stream:
        answers = [event for event in stream if isinstance(event, AnswerDone)]
        assert stream.answers == answers
        assert stream.result() == stream.result()
        assert stream.result().thinking == stream.thinking


def test_failure_is_raised_again_on_further_use(
    server: ReplayServer, connect: Connect, cancelled: Recording, unreachable_url: str
) -> None:
    server.reply(THINK, cancelled.wire)
    for url, kind in ((server.url, SessionFailed), (unreachable_url, ServerUnreachable)):
        stream = connect(url, max_retries=0).think("7-3")
        with pytest.raises(kind) as first:
            stream.result()
        for again in (stream.result, lambda stream=stream: next(stream)):
            with pytest.raises(kind) as second:
                again()
            assert second.value is first.value


def test_refusal_is_raised_when_the_retry_would_pass_the_deadline(
    server: ReplayServer, connect: Connect
) -> None:
    server.reply(THINK, refusal("busy"), status=503, content_type=JSON, headers={"Retry-After": "50"})
    with pytest.raises(RequestRefused, match="busy"):
        connect(server.url).think("7-3", timeout_s=40.0).result()
    assert len(server.requests) == 1


def test_errors_can_be_pickled_and_copied() -> None:
    error = RequestRefused("no", status=422, code="invalid_request", field="budget")
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), vars(copied)) == (str(error), vars(error))
    assert str(copy.copy(error)) == "no"


@pytest.mark.parametrize(
    "error", [ServerUnreachable, RequestRefused, SessionFailed, StreamInterrupted, TimedOut]
)
def test_every_error_is_a_client_error(error: type[Exception]) -> None:
    assert issubclass(error, ClientError)
