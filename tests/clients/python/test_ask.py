"""`anytime ask`: its output and exit status; as a process, its handling of Ctrl-C."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from anytime_client.ask import main

from .conftest import NEVER, Recording, ReplayServer

THINK = "/v1/anytime"
ANSWER_CUT_OFF = "the answer was cut off at its token limit"
ASK = [sys.executable, "-c", "import sys; from anytime_client.ask import main; sys.exit(main(sys.argv[1:]))"]


def ask(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command in this process: a process of its own takes half a second to start."""
    handler = signal.getsignal(signal.SIGTERM)
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()) as output,
        contextlib.redirect_stderr(io.StringIO()) as errors,
    ):
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        try:
            status = main(argv)
        except SystemExit as ended:
            status = ended.code
        finally:
            signal.signal(signal.SIGTERM, handler)
    assert isinstance(status, int)
    return subprocess.CompletedProcess(argv, status, output.getvalue(), errors.getvalue())


def done_event(answer: str, *, cause: str, budget_tokens: int, thinking_tokens: int) -> dict[str, Any]:
    counts = ("prompt", "thinking", "inserted", "answer", "provisional", "cached")
    times = ("time_to_first_token_s", "cut_to_answer_s", "time_to_answer_s")
    return {
        "type": "done",
        "id": "any-1",
        "stop": {"cause": cause, "budget_tokens": budget_tokens, "thinking_tokens": thinking_tokens},
        "answer": answer,
        "usage": {f"{name}_tokens": 0 for name in counts},
        "timing": dict.fromkeys(times, 0.1) | {"total_s": 0.5},
        "continuation": None,
    }


def reply(server: ReplayServer, events: list[dict[str, Any]]) -> None:
    budget = {"tokens": 4, "deadline_ms": None}
    started = {"type": "started", "id": "any-1", "model": "tiny", "budget": budget, "prompt_tokens": 1}
    sent = (f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in [started, *events])
    server.reply(THINK, *sent)


@pytest.fixture(scope="module")
def natural() -> Recording:
    """A session whose thinking the model finished."""
    return Recording.load("natural")


def test_prints_thinking_answer_and_summary(server: ReplayServer, natural: Recording) -> None:
    server.reply(THINK, natural.wire)
    finished = ask("7-3", "--url", server.url)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert natural.result is not None
    num_tokens, seconds = natural.result["usage"]["thinking_tokens"], natural.result["timing"]["total_s"]
    assert finished.stdout == (
        f"{natural.result['thinking']}\n{natural.result['answer']}\n"
        f"[{num_tokens} of 96 thinking tokens, ended by the model, {seconds:.2f} s]\n"
    )


def test_answer_only_prints_just_the_answer(server: ReplayServer, natural: Recording) -> None:
    server.reply(THINK, natural.wire)
    finished = ask("7-3", "--url", server.url, "--answer-only")
    assert (finished.returncode, finished.stdout, finished.stderr) == (
        0,
        f"{natural.events[-1]['answer']}\n",
        "",
    )


@pytest.mark.parametrize("argv", [[b"7\xff"], [b"-"]])
def test_prompt_that_is_not_utf8_exits_with_2(argv: list[bytes]) -> None:
    finished = subprocess.run([*ASK, *argv], input=b"7\xff", capture_output=True, check=False, timeout=60)
    assert finished.returncode == 2
    assert finished.stderr.endswith(b"error: the prompt is not valid UTF-8\n")


@pytest.mark.parametrize("address", ["http://[::1", "foo", "ftp://127.0.0.1"])
def test_invalid_url_exits_with_1(address: str) -> None:
    finished = ask("7-3", "--url", address)
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"anytime ask: {address!r} is not a valid address")


def test_closed_output_pipe_exits_quietly(server: ReplayServer, done: Recording) -> None:
    server.reply(THINK, done.wire)
    command = " ".join(shlex.quote(part) for part in [*ASK, "7-3", "--url", server.url, "--json"])
    finished = subprocess.run(
        ["bash", "-c", f"{command} | true; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (finished.returncode, finished.stderr) == (1, b"")


def test_write_error_exits_with_1(server: ReplayServer, done: Recording) -> None:
    server.reply(THINK, done.wire)
    with open("/dev/full", "wb") as full:
        finished = subprocess.run(
            [*ASK, "7-3", "--url", server.url], stdout=full, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert finished.returncode == 1
    assert finished.stderr == b"anytime ask: cannot write the output: No space left on device\n"


@pytest.mark.parametrize(
    "stream",
    [
        b"data: {}\n\n",
        b"data: [1]\n\n",
        b'data: {"choices": []}\n\n',
        b'event: thinking\ndata: {"type": "thinking"}\n\n',
        b'event: error\ndata: {"type": "error", "error": "no"}\n\n',
    ],
)
def test_stream_of_another_kind_of_server_exits_with_1(server: ReplayServer, stream: bytes) -> None:
    server.reply(THINK, stream)
    finished = ask("7-3", "--url", server.url)
    assert finished.returncode == 1
    assert "sent an invalid event" in finished.stderr
    assert len(finished.stderr.splitlines()) == 1


def test_json_prints_the_events_unchanged(server: ReplayServer, done: Recording) -> None:
    server.reply(THINK, done.wire)
    finished = ask("7-3", "--url", server.url, "--json")
    events = [json.loads(line) for line in finished.stdout.splitlines()]
    recorded = [line.removeprefix(b"data: ") for line in done.wire.splitlines() if b"data: " in line]
    assert events == [json.loads(line) for line in recorded]


def test_json_prints_an_error_event_unchanged(server: ReplayServer, cancelled: Recording) -> None:
    server.reply(THINK, cancelled.wire)
    finished = ask("7-3", "--url", server.url, "--json")
    events = [json.loads(line) for line in finished.stdout.splitlines()]
    assert events == [*cancelled.events, {"type": "error", "error": cancelled.error}]
    assert (finished.returncode, finished.stderr) == (1, "anytime ask: the session was cancelled\n")


def test_json_prints_a_refusal_as_an_error_event(server: ReplayServer) -> None:
    error = {"code": "invalid_request", "message": "more than the window", "field": "budget"}
    server.reply(THINK, json.dumps({"error": error}).encode(), status=422, content_type="application/json")
    finished = ask("7-3", "--url", server.url, "--json")
    assert json.loads(finished.stdout) == {"type": "error", "error": error}
    assert (finished.returncode, finished.stderr) == (1, "anytime ask: more than the window\n")


@pytest.mark.parametrize(
    ("argv", "fields"),
    [
        ([], {}),
        (["--budget", "0"], {"budget": {"tokens": 0}}),
        (["--deadline-ms", "300"], {"budget": {"deadline_ms": 300}}),
        (["--budget", "9", "--deadline-ms", "300"], {"budget": {"tokens": 9, "deadline_ms": 300}}),
        (["--budget", "9", "--grace", "4"], {"budget": {"tokens": 9, "grace": 4}}),
        (["--share", "0.5"], {"budget": {"share": 0.5}}),
        (["--budgets", "0,8, 16"], {"budgets": [0, 8, 16]}),
        (["--stable", "3"], {"stop_when": {"stable": 3, "every_tokens": 8}}),
        (
            ["--stable", "2", "--every-tokens", "16", "--min-confidence", "0.9"],
            {"stop_when": {"stable": 2, "every_tokens": 16, "min_confidence": 0.9}},
        ),
        (["--seed", "0"], {"thinking": {"seed": 0}}),
        (["--max-tokens", "7"], {"answer": {"max_tokens": 7}}),
        (["--model", "tiny", "--continuation", "a1.x"], {"model": "tiny", "continuation": "a1.x"}),
    ],
)
def test_options_become_request_fields(
    server: ReplayServer, done: Recording, argv: list[str], fields: dict[str, Any]
) -> None:
    server.reply(THINK, done.wire)
    assert ask("7-3", "--url", server.url, *argv).returncode == 0
    [(_, body)] = server.requests
    question = {"messages": [{"role": "user", "content": "7-3"}], "stream": True}
    assert json.loads(body) == question | fields


def test_schema_is_read_from_its_file(server: ReplayServer, done: Recording, tmp_path: Path) -> None:
    server.reply(THINK, done.wire)
    schema = {"type": "object", "title": "€"}
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(schema, ensure_ascii=False), encoding="utf-8")
    assert ask("7-3", "--url", server.url, "--schema", str(path)).returncode == 0
    [(_, body)] = server.requests
    response_format = {"type": "json_schema", "json_schema": {"schema": schema}}
    assert json.loads(body)["answer"] == {"response_format": response_format}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the prompt is empty"),
        ([" "], "the prompt is empty"),
        (["7-3", "--budget", "x"], "argument --budget: must be a whole number, not 'x'"),
        (["7-3", "--share", "-1"], "argument --share: must not be negative"),
        (["7-3", "--budgets", "8,,16"], "argument --budgets: must be a whole number, not ''"),
        (["7-3", "--min-confidence", "x"], "argument --min-confidence: must be a number, not 'x'"),
        (["7-3", "--min-confidence", "2"], "argument --min-confidence: must be from 0 to 1"),
        (["7-3", "--every-tokens", "8"], "--every-tokens and --min-confidence require --stable"),
        (["7-3", "--min-confidence", "0"], "--every-tokens and --min-confidence require --stable"),
        (["7-3", "--schema", "/no/such"], "argument --schema: cannot read /no/such: No such file"),
        (["7-3", "--schema", "/dev/null"], "argument --schema: /dev/null is not valid JSON: "),
    ],
)
def test_invalid_option_exits_with_2(argv: list[str], message: str) -> None:
    finished = ask(*argv)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert f"anytime ask: error: {message}" in finished.stderr


def test_url_and_api_key_are_read_from_the_environment(
    server: ReplayServer, done: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.reply(THINK, done.wire)
    monkeypatch.setenv("ANYTIME_URL", server.url)
    monkeypatch.setenv("ANYTIME_API_KEY", "a key")
    assert ask("7-3").returncode == 0
    [headers] = server.headers
    assert headers["Authorization"] == "Bearer a key"


def test_invalid_api_key_exits_with_2_without_showing_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYTIME_API_KEY", "secret\n")
    finished = ask("7-3")
    assert finished.returncode == 2
    assert "ANYTIME_API_KEY: the API key must consist of" in finished.stderr
    assert "secret" not in finished.stderr


def test_missing_api_key_error_names_the_environment_variable(server: ReplayServer) -> None:
    server.reply(THINK, b'{"error": {"message": "an API key is needed"}}', status=401)
    finished = ask("7-3", "--url", server.url)
    assert finished.returncode == 1
    assert (
        "an API key is needed; the key is read from the environment variable ANYTIME_API_KEY"
        in finished.stderr
    )


@pytest.mark.parametrize("prompt", [["-"], []], ids=["dash", "missing"])
def test_prompt_is_read_from_standard_input(server: ReplayServer, done: Recording, prompt: list[str]) -> None:
    server.reply(THINK, done.wire)
    assert ask(*prompt, "--url", server.url, stdin="7 - 3\n").returncode == 0
    [(_, body)] = server.requests
    assert json.loads(body)["messages"][0]["content"].strip() == "7 - 3"


def test_early_answers_are_printed_below_the_answer(server: ReplayServer, early_answers: Recording) -> None:
    assert early_answers.result is not None
    server.reply(THINK, early_answers.wire)
    shown = ask("7-3", "--url", server.url).stdout.splitlines()
    *provisional, final = early_answers.result["answers"]
    assert shown[:2] == [early_answers.result["thinking"], final["text"]]
    for line, answer in zip(shown[2:-1], provisional, strict=True):
        same = "same as final" if answer["text"] == final["text"] else "differs from final"
        confidence = f"confidence {answer['confidence']:.2f}"
        assert line == f"[{answer['at_tokens']} tokens: {answer['text']} ({confidence}, {same})]"
    assert ask("7-3", "--url", server.url, "--answer-only").stdout == f"{final['text']}\n"


def test_markup_is_printed_as_text(server: ReplayServer) -> None:
    events = [
        {"type": "thinking", "text": "[bold]a[/bold] :smile:", "total_tokens": 1},
        {"type": "answer.started", "index": 0, "at_tokens": 1, "provisional": False, "cause": "natural"},
        {"type": "answer.delta", "index": 0, "text": "[/red] x[0] = 7"},
        done_event("[/red] x[0] = 7", cause="natural", budget_tokens=4, thinking_tokens=1),
    ]
    reply(server, events)
    printed = ask("7-3", "--url", server.url).stdout
    assert printed == (
        "[bold]a[/bold] :smile:\n[/red] x[0] = 7\n[1 of 4 thinking tokens, ended by the model, 0.50 s]\n"
    )


@pytest.mark.parametrize(
    ("options", "stdout", "stderr"),
    [
        (
            [],
            f"a\nThe answer is for\n[1 of 1 thinking tokens, stopped by budget, 0.50 s; {ANSWER_CUT_OFF}]\n",
            "",
        ),
        (["--answer-only"], "The answer is for\n", f"anytime ask: {ANSWER_CUT_OFF}\n"),
    ],
)
def test_answer_cut_off_at_its_token_limit_is_reported(
    server: ReplayServer, options: list[str], stdout: str, stderr: str
) -> None:
    events = [
        {"type": "thinking", "text": "a", "total_tokens": 1},
        {"type": "answer.started", "index": 0, "at_tokens": 1, "provisional": False, "cause": "budget"},
        {"type": "answer.delta", "index": 0, "text": "The answer is for"},
        {
            "type": "answer.done",
            "index": 0,
            "at_tokens": 1,
            "provisional": False,
            "text": "The answer is for",
            "answer_tokens": 4,
            "confidence": 0.5,
            "finish_reason": "length",
        },
        done_event("The answer is for", cause="budget", budget_tokens=1, thinking_tokens=1),
    ]
    reply(server, events)
    finished = ask("7-3", "--url", server.url, *options)
    assert (finished.stdout, finished.stderr) == (stdout, stderr)


def test_error_after_an_incomplete_line_starts_a_new_line(server: ReplayServer) -> None:
    events = [
        {"type": "thinking", "text": "7-", "total_tokens": 2},
        {"type": "error", "error": {"code": "unavailable", "message": "the server stops", "field": None}},
    ]
    reply(server, events)
    finished = ask("7-3", "--url", server.url)
    assert (finished.stdout, finished.stderr) == ("7-\n", "anytime ask: the server stops\n")


def test_error_is_printed_in_one_line(server: ReplayServer, cancelled: Recording) -> None:
    server.reply(THINK, cancelled.wire)
    finished = ask("7-3", "--url", server.url)
    assert (finished.returncode, finished.stderr) == (1, "anytime ask: the session was cancelled\n")


def test_interrupt_during_thinking_requests_the_answer(server: ReplayServer, done: Recording) -> None:
    thinking, answer = done.wire.split(b"event: answer.started", maxsplit=1)
    answer_now = f"{THINK}/{done.id}/answer"
    server.reply(THINK, thinking, b"event: answer.started" + answer, waits_for=answer_now)
    server.reply(answer_now, b"{}", status=202, content_type="application/json")
    with start_ask(server) as process:
        read_until(process, "thinking")
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert json.loads(output.splitlines()[-1])["type"] == "done"
    assert [path for path, _ in server.requests] == [THINK, answer_now]


@pytest.mark.parametrize("last", ["started", "answer.delta"], ids=["second-interrupt", "during-answer"])
def test_interrupt_during_answer_or_second_interrupt_gives_up(
    server: ReplayServer, done: Recording, last: str
) -> None:
    until = done.wire.index(b"event: thinking" if last == "started" else b"event: answer.done")
    server.reply(THINK, done.wire[:until], b"", waits_for=NEVER)
    answer_now = f"{THINK}/{done.id}/answer"
    server.reply(answer_now, b"{}", status=202, content_type="application/json")
    with start_ask(server) as process:
        read_until(process, last)
        if last == "started":
            process.send_signal(signal.SIGINT)
            server.wait_for_request(answer_now)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "\n")
    server.wait_for_disconnect(THINK)


def start_ask(server: ReplayServer) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*ASK, "7-3", "--url", server.url, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def read_until(process: subprocess.Popen[str], event_type: str) -> None:
    assert process.stdout is not None
    while json.loads(process.stdout.readline())["type"] != event_type:
        pass
