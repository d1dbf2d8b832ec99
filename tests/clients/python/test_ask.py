"""`anytime ask` as a process: what it prints, how it exits, what Ctrl-C does."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from typing import Any

import pytest

THINK = "/v1/anytime"
CUT_SHORT = "the answer was cut off at its token limit"
ASK = [sys.executable, "-c", "import sys; from anytime_client.ask import main; sys.exit(main(sys.argv[1:]))"]


def ask(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ASK, *argv], input=stdin, capture_output=True, encoding="utf-8", check=False, timeout=60
    )


def reply(server: Any, events: list[dict[str, Any]]) -> None:
    server.reply(THINK, *(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events))


def test_it_prints_thinking_and_answer_and_how_it_went(server: Any, recording_done: bytes) -> None:
    server.reply(THINK, recording_done)
    done = ask("7-3", "--url", server.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "6,9-6+\nx = 42 €\n[6 of 6 thinking tokens, stopped by budget, 11.01 s]\n"


def test_it_prints_the_answer_only(server: Any, recording_done: bytes) -> None:
    server.reply(THINK, recording_done)
    done = ask("7-3", "--url", server.url, "--answer-only")
    assert (done.returncode, done.stdout, done.stderr) == (0, "x = 42 €\n", "")


@pytest.mark.parametrize("argv", [[b"7\xff"], [b"-"]])
def test_a_prompt_that_is_no_text(argv: list[bytes]) -> None:
    done = subprocess.run([*ASK, *argv], input=b"7\xff", capture_output=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.endswith(b"error: the prompt is not text in UTF-8\n")


@pytest.mark.parametrize("address", ["http://[::1", "foo", "ftp://127.0.0.1"])
def test_an_address_that_is_none(address: str) -> None:
    done = ask("7-3", "--url", address)
    assert done.returncode == 1
    assert done.stderr.startswith(f"anytime ask: {address!r} is no address")


def test_whoever_reads_the_output_may_go(server: Any, recording_done: bytes) -> None:
    server.reply(THINK, recording_done)
    command = " ".join(shlex.quote(part) for part in [*ASK, "7-3", "--url", server.url, "--json"])
    done = subprocess.run(
        ["bash", "-c", f"{command} | true; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (1, b"")


def test_output_that_cannot_be_written(server: Any, recording_done: bytes) -> None:
    server.reply(THINK, recording_done)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*ASK, "7-3", "--url", server.url], stdout=full, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert done.returncode == 1
    assert done.stderr == b"anytime ask: cannot write the output: No space left on device\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"data: {}\n\n",
        b"data: [1]\n\n",
        b'data: {"choices": []}\n\n',
        b'event: thinking\ndata: {"type": "thinking"}\n\n',
        b'event: error\ndata: {"type": "error", "error": "no"}\n\n',
    ],
)
def test_a_server_that_is_none_of_ours(server: Any, sent: bytes) -> None:
    server.reply(THINK, sent)
    done = ask("7-3", "--url", server.url)
    assert done.returncode == 1
    assert "sent what is no event" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_it_prints_the_events_as_they_are(server: Any, recording_done: bytes) -> None:
    server.reply(THINK, recording_done)
    done = ask("7-3", "--url", server.url, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    recorded = [line.removeprefix(b"data: ") for line in recording_done.splitlines() if b"data: " in line]
    assert events == [json.loads(line) for line in recorded]


@pytest.mark.parametrize(
    ("argv", "fields"),
    [
        ([], {"budget": None}),
        (["--budget", "0"], {"budget": {"tokens": 0}}),
        (["--deadline-ms", "300"], {"budget": {"deadline_ms": 300}}),
        (["--budget", "9", "--deadline-ms", "300"], {"budget": {"tokens": 9, "deadline_ms": 300}}),
        (["--seed", "0"], {"budget": None, "thinking": {"seed": 0}}),
    ],
)
def test_options_become_fields(
    server: Any, recording_done: bytes, argv: list[str], fields: dict[str, Any]
) -> None:
    server.reply(THINK, recording_done)
    assert ask("7-3", "--url", server.url, *argv).returncode == 0
    [(_, body)] = server.requests
    question = {"messages": [{"role": "user", "content": "7-3"}], "stream": True}
    assert json.loads(body) == question | fields


def test_a_dash_reads_the_question_from_standard_input(server: Any, recording_done: bytes) -> None:
    server.reply(THINK, recording_done)
    assert ask("-", "--url", server.url, stdin="7 - 3\n").returncode == 0
    [(_, body)] = server.requests
    assert json.loads(body)["messages"][0]["content"].strip() == "7 - 3"


def test_markup_in_the_answer_is_text(server: Any) -> None:
    events = [
        {"type": "thinking", "text": "[bold]a[/bold] :smile:", "total_tokens": 1},
        {"type": "answer.started", "index": 0, "at_tokens": 1, "provisional": False, "cause": "natural"},
        {"type": "answer.delta", "index": 0, "text": "[/red] x[0] = 7"},
        {
            "type": "done",
            "stop": {"cause": "natural", "budget_tokens": 4, "thinking_tokens": 1},
            "timing": {"total_s": 0.5},
        },
    ]
    reply(server, events)
    printed = ask("7-3", "--url", server.url).stdout
    assert printed == (
        "[bold]a[/bold] :smile:\n[/red] x[0] = 7\n[1 of 4 thinking tokens, ended by the model, 0.50 s]\n"
    )


@pytest.mark.parametrize(
    ("options", "stdout", "stderr"),
    [
        ([], f"a\nThe answer is for\n[1 of 1 thinking tokens, stopped by budget, 0.50 s; {CUT_SHORT}]\n", ""),
        (["--answer-only"], "The answer is for\n", f"anytime ask: {CUT_SHORT}\n"),
    ],
)
def test_it_says_that_an_answer_was_cut(server: Any, options: list[str], stdout: str, stderr: str) -> None:
    events = [
        {"type": "thinking", "text": "a", "total_tokens": 1},
        {"type": "answer.started", "index": 0, "at_tokens": 1, "provisional": False, "cause": "budget"},
        {"type": "answer.delta", "index": 0, "text": "The answer is for"},
        {"type": "answer.done", "finish_reason": "length"},
        {
            "type": "done",
            "stop": {"cause": "budget", "budget_tokens": 1, "thinking_tokens": 1},
            "timing": {"total_s": 0.5},
        },
    ]
    reply(server, events)
    done = ask("7-3", "--url", server.url, *options)
    assert (done.stdout, done.stderr) == (stdout, stderr)


def test_an_error_in_the_middle_of_a_line_begins_its_own(server: Any) -> None:
    events = [
        {"type": "thinking", "text": "7-", "total_tokens": 2},
        {"type": "error", "error": {"code": "unavailable", "message": "the server stops", "field": None}},
    ]
    reply(server, events)
    done = ask("7-3", "--url", server.url)
    assert (done.stdout, done.stderr) == ("7-\n", "anytime ask: the server stops\n")


def test_the_address_may_be_the_one_for_openais_sdk(server: Any, recording_done: bytes) -> None:
    server.reply(THINK, recording_done)
    assert ask("7-3", "--url", f"{server.url}/v1/", "--answer-only").stdout == "x = 42 €\n"


def test_an_error_is_told_in_one_line(server: Any, recording_cancelled: bytes) -> None:
    server.reply(THINK, recording_cancelled)
    done = ask("7-3", "--url", server.url)
    assert (done.returncode, done.stderr) == (1, "anytime ask: the session was cancelled\n")


def test_an_interrupt_while_it_thinks_asks_for_the_answer(server: Any, recording_done: bytes) -> None:
    thinking, answer = recording_done.split(b"event: answer.started", maxsplit=1)
    started = json.loads(thinking.split(b"data: ", maxsplit=2)[1].splitlines()[0])
    button = f"{THINK}/{started['id']}/answer"
    server.reply(THINK, thinking, b"event: answer.started" + answer, waits_for=button)
    server.reply(button, b"{}", status=202, content_type="application/json")
    with subprocess.Popen(
        [*ASK, "7-3", "--url", server.url, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["type"] == "started"
        assert json.loads(process.stdout.readline())["type"] == "thinking"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert json.loads(output.splitlines()[-1])["type"] == "done"
    assert [path for path, _ in server.requests] == [THINK, button]


def test_an_interrupt_while_it_answers_gives_up(server: Any, recording_done: bytes) -> None:
    answering, rest = recording_done.split(b"event: answer.done", maxsplit=1)
    server.reply(THINK, answering, b"event: answer.done" + rest, waits_for="/released")
    with subprocess.Popen(
        [*ASK, "7-3", "--url", server.url, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        while json.loads(process.stdout.readline())["type"] != "answer.delta":
            pass
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    server.see("/released", b"")
    assert (process.returncode, errors) == (130, "\n")
