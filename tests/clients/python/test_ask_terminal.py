"""`anytime ask` on a pseudo-terminal: what its screen shows, and the keys."""

from __future__ import annotations

import json
import signal
import textwrap
from typing import Any

import pytest

from .conftest import NEVER, Recording, ReplayServer
from .terminal import Terminal
from .test_ask import ASK, THINK, done_event, reply

COLUMNS = 60


def ask_on_terminal(server: ReplayServer, *options: str, env: dict[str, str] | None = None) -> Terminal:
    return Terminal([*ASK, "7-3", "--url", server.url, *options], columns=COLUMNS, env=env)


def thinking(*pieces: str, budget: int) -> list[dict[str, Any]]:
    budget_field = {"tokens": budget, "deadline_ms": None}
    started = {"type": "started", "id": "any-1", "model": "m", "budget": budget_field, "prompt_tokens": 1}
    return [started] + [
        {"type": "thinking", "text": piece, "total_tokens": i} for i, piece in enumerate(pieces, start=1)
    ]


def answering(text: str, *, at_tokens: int) -> list[dict[str, Any]]:
    answer = {"index": 0, "at_tokens": at_tokens, "provisional": False}
    details = {"answer_tokens": 1, "confidence": 0.5, "finish_reason": "stop"}
    return [
        {"type": "answer.started", **answer, "cause": "budget"},
        {"type": "answer.delta", "index": 0, "text": text},
        {"type": "answer.done", **answer, "text": text, **details},
        done_event(text, cause="budget", budget_tokens=at_tokens, thinking_tokens=at_tokens),
    ]


def test_final_screen_has_thinking_ruler_answer_and_table(
    server: ReplayServer, early_answers: Recording
) -> None:
    assert early_answers.result is not None
    server.reply(THINK, *(event + b"\n\n" for event in early_answers.wire.split(b"\n\n")))
    terminal = ask_on_terminal(server, "--budgets", "0,8,16")
    assert terminal.wait() == 0
    result, stop = early_answers.result, early_answers.result["stop"]
    lines = terminal.lines()
    ruler = next(line for line in lines if line.endswith(f" {stop['thinking_tokens']} of 32 tokens"))
    assert len(ruler) == COLUMNS
    assert ruler.count("◆") + ruler.count("◇") == 3
    above, below = lines[: lines.index(ruler)], lines[lines.index(ruler) + 1 :]
    assert "".join(above).split() == result["thinking"].split()
    assert below[:2] == [result["answer"], ""]
    rows = [line.split() for line in below[2:-1]]
    assert rows[0] == ["after", "answer", "confidence", "agrees"]
    for row, answer in zip(rows[1:], result["answers"], strict=True):
        same = ["yes" if answer["text"] == result["answer"] else "no"] if answer["provisional"] else []
        assert row == [str(answer["at_tokens"]), answer["text"], f"{answer['confidence']:.2f}", *same]
    assert below[-1].startswith(f"{stop['thinking_tokens']} of 32 thinking tokens, ")


def test_long_thinking_is_wrapped_and_scrolls(server: ReplayServer) -> None:
    """More lines than the terminal has: words are wrapped, and line breaks of the thinking are kept."""
    words = [f"{i} " if i % 50 else f"{i}.\n" for i in range(1, 501)]
    reply(server, [*thinking(*words, budget=500), *answering("4", at_tokens=500)])
    terminal = ask_on_terminal(server)
    assert terminal.wait() == 0
    lines = terminal.lines()
    ruler = lines.index("━" * (COLUMNS - 18) + " 500 of 500 tokens")
    assert " ".join(lines[:ruler]).split() == "".join(words).split()
    assert lines[0] == textwrap.wrap("".join(words[:40]), COLUMNS)[0]
    assert sum(line.endswith(".") for line in lines[:ruler]) == 10
    assert lines[ruler + 1] == "4"


def test_thinking_is_dim_and_answer_is_bold(server: ReplayServer, done: Recording) -> None:
    server.reply(THINK, done.wire)
    terminal = ask_on_terminal(server)
    terminal.wait()
    assert b"\x1b[2m" in terminal.output
    assert b"\x1b[1m" + done.events[-1]["answer"].encode() in terminal.output
    assert b"\x1b[36m" in terminal.output


def test_no_color_disables_colors(server: ReplayServer, done: Recording) -> None:
    server.reply(THINK, done.wire)
    terminal = ask_on_terminal(server, env={"NO_COLOR": "1"})
    assert terminal.wait() == 0
    assert b"\x1b[3" not in terminal.output


def test_cursor_is_restored_at_the_end(server: ReplayServer, done: Recording) -> None:
    server.reply(THINK, done.wire)
    terminal = ask_on_terminal(server)
    terminal.wait()
    assert terminal.output.rindex(b"\x1b[?25h") > terminal.output.rindex(b"\x1b[?25l")


def test_cursor_is_restored_after_sigterm(server: ReplayServer, done: Recording) -> None:
    server.reply(THINK, done.wire.split(b"event: answer.started")[0], b"", waits_for=NEVER)
    terminal = ask_on_terminal(server)
    terminal.read_until(lambda lines: lines[-1] == "Ctrl-C: answer now")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.wait() == 128 + signal.SIGTERM
    assert terminal.output.rindex(b"\x1b[?25h") > terminal.output.rindex(b"\x1b[?25l")
    server.wait_for_disconnect(THINK)


def test_control_sequences_of_the_model_are_removed(server: ReplayServer) -> None:
    reply(
        server,
        [*thinking("a\x1b[2Jb\r\x07", budget=1), *answering("[red]4[/red]\x1b]0;title\x07", at_tokens=1)],
    )
    terminal = ask_on_terminal(server)
    assert terminal.wait() == 0
    assert b"\x1b[2J" not in terminal.output
    assert b"\x1b]" not in terminal.output
    assert terminal.lines()[0] == "a[2Jb"
    assert terminal.lines()[2] == "[red]4[/red]]0;title"


def test_session_without_thinking_shows_no_ruler(server: ReplayServer) -> None:
    reply(server, [*thinking(budget=0), *answering("4", at_tokens=0)])
    terminal = ask_on_terminal(server)
    assert terminal.wait() == 0
    assert terminal.lines() == ["4", "0 of 0 thinking tokens, stopped by budget, 0.50 s"]


def test_ctrl_c_during_thinking_requests_the_answer(server: ReplayServer, done: Recording) -> None:
    before, answer = done.wire.split(b"event: answer.started", maxsplit=1)
    answer_now = f"{THINK}/{done.id}/answer"
    server.reply(THINK, before, b"event: answer.started" + answer, waits_for=answer_now)
    server.reply(answer_now, b"{}", status=202, content_type="application/json")
    terminal = ask_on_terminal(server)
    terminal.read_until(lambda lines: lines[-1] == "Ctrl-C: answer now")
    terminal.type("\x03")
    assert terminal.wait() == 0
    assert [path for path, _ in server.requests] == [THINK, answer_now]
    assert done.events[-1]["answer"] in terminal.lines()
    assert "^C" not in "".join(terminal.lines())


def test_second_ctrl_c_gives_up(server: ReplayServer, done: Recording) -> None:
    server.reply(THINK, done.wire.split(b"event: answer.started")[0], b"", waits_for=NEVER)
    answer_now = f"{THINK}/{done.id}/answer"
    server.reply(answer_now, b"{}", status=202, content_type="application/json")
    text = "".join(e["text"] for e in done.events if e["type"] == "thinking")
    terminal = ask_on_terminal(server)
    terminal.read_until(lambda lines: lines[0] == text and lines[-1] == "Ctrl-C: answer now")
    terminal.type("\x03")
    server.wait_for_request(answer_now)
    terminal.type("\x03")
    assert terminal.wait() == 130
    server.wait_for_disconnect(THINK)
    assert terminal.lines() == [text]


@pytest.mark.parametrize("error", ["refused", "failed"])
def test_error_is_printed_below_the_received_text(
    server: ReplayServer, cancelled: Recording, error: str
) -> None:
    if error == "refused":
        body = {"error": {"code": "invalid_request", "message": "too long", "field": "budget"}}
        server.reply(THINK, json.dumps(body).encode(), status=422, content_type="application/json")
        shown = ["anytime ask: too long"]
    else:
        failed = {"type": "error", "error": {"code": "cancelled", "message": "too long", "field": None}}
        reply(server, [*thinking("a b", budget=4), failed])
        shown = ["a b", "anytime ask: too long"]
    terminal = ask_on_terminal(server)
    assert terminal.wait() == 1
    assert terminal.lines() == shown
