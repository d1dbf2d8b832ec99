"""Escape sequences, and servers without an end, against the commands and the Python client."""

from __future__ import annotations

import itertools
import json
import shutil
import socket
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from anytime_client import AsyncClient, Client, RequestRefused, StreamInterrupted, TimedOut
from anytime_client.bench import main as bench
from anytime_client.errors import ClientError
from anytime_client.terminal_text import escaped_json, without_controls
from anytime_server.printable import UNSAFE, escaped
from anytime_server.reasoning import Manifest
from anytime_training.evaluate import main as evaluate
from anytime_training.progress import ProgressReport

from ..clients.python.terminal import Terminal
from ..prefork import preforked
from .matrix import attack

CONTROLS = (
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b]8;;http://evil\x1b\\",
    "\x1b[2J",
    "\x1bPq",
    "\x9b31m",
    "\x9d0;",
    "\u202e",
    "\u2067",
)
"""Write the clipboard, link, clear the screen, draw, colour, set the title, and reverse the text."""
HOSTILE = "evil" + "".join(CONTROLS)
ASK = [sys.executable, "-c", "import sys; from anytime_client.ask import main; sys.exit(main(sys.argv[1:]))"]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
STARTED = {
    "type": "started",
    "id": "any-1",
    "model": HOSTILE,
    "budget": {"tokens": 4, "deadline_ms": None},
    "prompt_tokens": 1,
}


def is_clean(text: str) -> bool:
    return not any(control in text for control in CONTROLS)


@contextmanager
def answering(*replies: Iterable[bytes]) -> Iterator[str]:
    """A server that sends each connection the next reply, the last one repeatedly; its address."""
    ended = threading.Event()

    def serve(listener: socket.socket) -> None:
        for reply in itertools.chain(replies, itertools.repeat(replies[-1])):
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=send, args=(connection, reply)).start()

    def send(connection: socket.socket, reply: Iterable[bytes]) -> None:
        with connection:
            received = b""
            while b"\r\n\r\n" not in received:
                if not (part := connection.recv(65536)):
                    return
                received += part
            try:
                for chunk in reply:
                    if ended.is_set():
                        return
                    connection.sendall(chunk)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            except OSError:
                pass  # the client has disconnected

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def refusal(status: int, message: str) -> list[bytes]:
    body = json.dumps({"error": {"message": message, "code": message, "field": message}}, ensure_ascii=False)
    return [b"HTTP/1.1 %d No\r\n\r\n" % status, body.encode()]


def session(*events: dict[str, Any]) -> list[bytes]:
    return [HEAD, *(b"data: %s\n\n" % json.dumps(event, ensure_ascii=False).encode() for event in events)]


def hostile_session() -> list[bytes]:
    """A session whose every text is hostile."""
    answer = {"index": 0, "at_tokens": 2, "provisional": False, "text": HOSTILE}
    early = answer | {"index": 1, "at_tokens": 1, "provisional": True}
    details = {"answer_tokens": 1, "confidence": 0.5, "finish_reason": HOSTILE}
    counts = ("prompt", "thinking", "inserted", "answer", "provisional", "cached")
    times = ("time_to_first_token_s", "cut_to_answer_s", "time_to_answer_s", "total_s")
    return session(
        STARTED,
        {"type": "thinking", "text": HOSTILE, "total_tokens": 1},
        {"type": HOSTILE, "text": HOSTILE},
        {"type": "answer.started", **early, "cause": None},
        {"type": "answer.done", **early, **details},
        {"type": "answer.started", **answer, "cause": HOSTILE},
        {"type": "answer.delta", "index": 0, "text": HOSTILE},
        {"type": "answer.done", **answer, **details},
        {
            "type": "done",
            "id": "any-1",
            "stop": {"cause": HOSTILE, "budget_tokens": 4, "thinking_tokens": 2},
            "answer": HOSTILE,
            "usage": {f"{name}_tokens": 0 for name in counts},
            "timing": dict.fromkeys(times, 0.1),
            "continuation": HOSTILE,
        },
    )


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


@attack(
    done="a server sends `anytime ask` escape sequences in errors, thinking, answers, causes, unknown events",
    client="the text without control characters on the terminal; JSON has them as escapes",
    left="clipboard, title and screen of the terminal as they were",
)
@pytest.mark.parametrize(
    ("reply", "option", "status"),
    [
        (refusal(422, HOSTILE), "--json", 1),
        (refusal(422, HOSTILE), None, 1),
        (session(STARTED, {"type": "error", "error": {"message": HOSTILE, "code": HOSTILE}}), None, 1),
        (hostile_session(), None, 0),
        (hostile_session(), "--answer-only", 0),
        (hostile_session(), "--json", 0),
    ],
)
def test_ask_prints_no_escape_sequence(reply: list[bytes], option: str | None, status: int) -> None:
    with answering(reply) as url:
        terminal = Terminal([*ASK, "7-3", "--url", url, *([option] if option else [])], columns=80)
        assert terminal.wait() == status
    output = terminal.output.decode()
    assert "evil" in output
    assert is_clean(output)
    if option == "--json" and status == 0:
        events = [json.loads(line) for line in output.splitlines()]
        assert events[1]["text"] == HOSTILE


@attack(
    done="a server lists models, and refuses requests, with escape sequences in names, codes and messages",
    client="`anytime bench` prints one line for each, without control characters",
    left="nothing",
)
def test_bench_prints_no_escape_sequence(capsys: pytest.CaptureFixture[str]) -> None:
    def models(*names: str) -> list[bytes]:
        body = {"data": [{"id": name, "anytime": {"examples": ["7-3"]}} for name in names]}
        return [b"HTTP/1.1 200 OK\r\n\r\n", json.dumps(body, ensure_ascii=False).encode()]

    for replies, status in (
        ([models(HOSTILE, "other")], 2),
        ([models(HOSTILE), refusal(422, HOSTILE)], 1),
        ([models(HOSTILE), hostile_session()], 0),
        ([refusal(500, HOSTILE)], 1),
    ):
        with answering(*replies) as url:
            assert bench([url, "--requests", "1", "--users", "1"]) == status
        printed = capsys.readouterr()
        assert "evil" in printed.out + printed.err
        assert is_clean(printed.out + printed.err)


@attack(
    done="a checkpoint whose `anytime.json` has escape sequences in its name and its task",
    client="`anytime serve` and `anytime evaluate` print the sequences as visible escapes",
    left="nothing",
)
def test_checkpoint_prints_no_escape_sequence(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint = shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")
    manifest = Manifest.load(checkpoint)
    assert manifest is not None
    manifest.model_copy(update={"name": HOSTILE, "task": {"kind": HOSTILE}}).save(checkpoint)
    process = preforked().start(["--port", "0", "--engine", "scripted", "--model", str(checkpoint)])
    greeting = next(line for line in process.stdout if "serves" in line)
    process.terminate()
    process.communicate()
    assert f"serves {escaped(HOSTILE)} on http://" in greeting
    assert is_clean(greeting)
    monkeypatch.setattr("anytime_server.engine.environment.prepare_environment", lambda: None)
    monkeypatch.setattr("anytime_server.engine.environment.preload_allocator", lambda: None)
    assert evaluate([str(checkpoint), "--budgets", "4"]) == 1
    printed = capsys.readouterr().err
    assert "task: kind must be one of" in printed
    assert is_clean(printed)


def test_progress_of_training_prints_no_escape_sequence(capsys: pytest.CaptureFixture[str]) -> None:
    report = ProgressReport(steps=1, first_step=0)
    report.print_line(f"problem {HOSTILE}\nforged line")
    report.close()
    printed = capsys.readouterr().err
    assert printed == f"problem {escaped(HOSTILE)}\\nforged line\n"
    assert is_clean(printed)


def test_client_and_server_clean_the_same_characters() -> None:
    """The client removes what the server escapes, except tab and newline, which its text keeps."""
    characters = [chr(code) for code in range(sys.maxunicode + 1)]
    unsafe = {character for character in characters if UNSAFE.match(character)}
    assert set(characters) - set(without_controls("".join(characters))) == unsafe - {"\t", "\n"}
    assert {"\x1b", "\x9b", "\x7f", "\u202e", "\u2066", "\ud800", "\u2028"} <= unsafe
    assert not {" ", "é", "中", "\u200d", "👍"} & unsafe
    assert json.loads(escaped_json(json.dumps(HOSTILE, ensure_ascii=False))) == HOSTILE


def endless(beginning: bytes, chunk: bytes, pause_s: float = 0.0) -> Iterator[bytes]:
    yield beginning
    while True:
        yield chunk
        time.sleep(pause_s)


@attack(
    done="a line, an event or an error body without an end, sent to the Python client",
    client="`StreamInterrupted` after 16 million characters, or the error's status",
    left="less than 200 MB in memory at any time; no connection",
)
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (lambda: endless(HEAD + b"data: ", b"x" * 2**18), StreamInterrupted),
        (lambda: endless(HEAD, b"data: \n" * 2**15), StreamInterrupted),
        (lambda: endless(b"HTTP/1.1 500 No\r\n\r\n", b"x" * 2**18), RequestRefused),
    ],
    ids=["line", "event", "error body"],
)
def test_endless_response_is_refused(reply: Callable[[], Iterator[bytes]], error: type[ClientError]) -> None:
    tracemalloc.start()
    try:
        with answering(reply()) as url, Client(url, max_retries=0) as client:
            with pytest.raises(error) as raised:
                client.think("7-3").result()
            assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()
    assert len(str(raised.value)) < 500


@attack(
    done="headers, error bodies and streams that come byte by byte, without an end",
    client="`TimedOut` at `timeout_s`; without it `StreamInterrupted` after `silence_timeout_s`",
    left="no connection",
)
@pytest.mark.parametrize(
    "beginning",
    [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 500 No\r\n\r\n", HEAD + b"data: "],
    ids=["headers", "error body", "stream"],
)
async def test_trickling_response_meets_the_time_out(beginning: bytes) -> None:
    def trickle() -> Iterator[bytes]:
        return endless(beginning, b"x", pause_s=0.05)

    with answering(trickle()) as url, Client(url, timeout_s=0.5) as client, pytest.raises(TimedOut):
        client.think("7-3").result()
    with answering(trickle()) as url:
        async with AsyncClient(url, timeout_s=0.5) as client:
            with pytest.raises(TimedOut):
                await client.think("7-3").result()
    if beginning.endswith(b"data: "):
        return
    with (
        answering(trickle()) as url,
        Client(url, silence_timeout_s=0.5) as client,
        pytest.raises(StreamInterrupted, match=r"gave no complete response for 0\.5 s"),
    ):
        client.models()
    with answering(trickle()) as url:
        async with AsyncClient(url, silence_timeout_s=0.5) as client:
            with pytest.raises(StreamInterrupted, match=r"gave no complete response for 0\.5 s"):
                await client.models()


@attack(
    done="a server redirects to another",
    client="`RequestRefused` with the status",
    left="the other server got neither prompt nor key",
)
def test_redirect_is_not_followed() -> None:
    def unreached() -> Iterator[bytes]:
        reached.set()
        yield HEAD

    reached = threading.Event()
    with answering(unreached()) as other:
        redirect = f"HTTP/1.1 307 Moved\r\nLocation: {other}/v1/anytime\r\n\r\n".encode()
        with answering([redirect]) as url, Client(url, "secret") as client:
            with pytest.raises(RequestRefused) as raised:
                client.think("7-3").result()
            assert raised.value.status == 307
    assert not reached.is_set()


def test_lone_surrogates_are_an_invalid_event() -> None:
    """They cannot be printed."""
    data = rb'{"type": "thinking", "text": "\ud800", "total_tokens": 1}'
    with (
        answering([HEAD, b"data: " + data + b"\n\n"]) as url,
        Client(url) as client,
        pytest.raises(StreamInterrupted, match="invalid event"),
    ):
        client.think("7-3").result()
