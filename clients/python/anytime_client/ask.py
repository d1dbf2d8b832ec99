"""`anytime ask`: a question from the terminal, thinking dimmed and the answer bright."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

from anytime_client.errors import ClientError

if TYPE_CHECKING:
    from anytime_client.client import Client

INTERRUPTED = 130
CUT_SHORT = "the answer was cut off at its token limit"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anytime ask",
        allow_abbrev=False,
        description="Ask a running server. Ctrl-C while it thinks means: answer now; again: give up.",
    )
    parser.add_argument("prompt", help="the question; - reads it from standard input")
    parser.add_argument("--budget", type=_whole_number, help="the most thinking tokens")
    parser.add_argument(
        "--deadline-ms", type=_whole_number, help="milliseconds by which the whole answer is due"
    )
    parser.add_argument("--seed", type=_integer, help="makes the request repeatable")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the server (default: %(default)s)")
    shown = parser.add_mutually_exclusive_group()
    for option, view, help_text in (
        ("--answer-only", _AnswerView, "print the answer and nothing else"),
        ("--json", _JsonView, "print the events as lines of JSON instead"),
    ):
        shown.add_argument(option, dest="view", action="store_const", const=view, help=help_text)
    parser.set_defaults(view=_TerminalView)
    return parser


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from None


def _whole_number(text: str) -> int:
    if (number := _integer(text)) < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def main(argv: Sequence[str]) -> int:
    """Run the command. Returns the exit status: 0, 1 after an error, 130 if given up."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        prompt = sys.stdin.read() if arguments.prompt == "-" else arguments.prompt
        prompt.encode()
    except UnicodeError:
        parser.error("the prompt is not text in UTF-8")
    budget = {"tokens": arguments.budget, "deadline_ms": arguments.deadline_ms}
    fields: dict[str, Any] = {} if arguments.seed is None else {"thinking": {"seed": arguments.seed}}

    from anytime_client.client import Client

    show = arguments.view()
    try:
        with Client(arguments.url) as client:
            answer_on_interrupt = _AnswerOnInterrupt(client)
            given = {name: value for name, value in budget.items() if value is not None}
            for event in client.think(prompt, budget=given or None, **fields):
                answer_on_interrupt.saw(event)
                show.event(event)
    except ClientError as error:
        show.broke_off()
        print(f"anytime ask: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        # Whoever read the output has gone, or it cannot be written; so cannot what is still held back.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print(f"anytime ask: cannot write the output: {error.strerror}", file=sys.stderr)
        return 1
    return 0


class _AnswerOnInterrupt:
    """Turns the first Ctrl-C of the thinking into "answer now"; any other ends the program."""

    def __init__(self, client: Client) -> None:
        self._url = client.url
        self._session_id: str | None = None
        signal.signal(signal.SIGINT, self._interrupted)

    def saw(self, event: dict[str, Any]) -> None:
        if event["type"] == "started":
            self._session_id = event["id"]
        elif event["type"] == "answer.started":
            self._session_id = None

    def _interrupted(self, signal_number: int, frame: FrameType | None) -> None:
        session_id, self._session_id = self._session_id, None
        if session_id is None:
            raise KeyboardInterrupt
        # From a thread, with a connection of its own: the stream's may be in the middle of anything.
        threading.Thread(target=self._answer_now, args=(session_id,), daemon=True).start()

    def _answer_now(self, session_id: str) -> None:
        from anytime_client.client import Client

        with contextlib.suppress(ClientError), Client(self._url) as client:
            client.answer_now(session_id)


class _View:
    """Prints what a session says; knows whether the last line is whole, and whether the answer was."""

    def __init__(self) -> None:
        self._line_is_open = False
        self._is_cut_short = False

    def event(self, event: dict[str, Any]) -> None:
        if event["type"] == "answer.done":
            self._is_cut_short = event["finish_reason"] == "length"

    def broke_off(self) -> None:
        """No more events will come: what is printed next begins a line."""
        if self._line_is_open:
            print(flush=True)


class _JsonView(_View):
    def event(self, event: dict[str, Any]) -> None:
        print(json.dumps(event, ensure_ascii=False), flush=True)


class _AnswerView(_View):
    def event(self, event: dict[str, Any]) -> None:
        super().event(event)
        if event["type"] == "answer.delta":
            print(event["text"], end="", flush=True)
            self._line_is_open = True
        elif event["type"] == "done":
            print(flush=True)
            if self._is_cut_short:
                print(f"anytime ask: {CUT_SHORT}", file=sys.stderr)


class _TerminalView(_View):
    """Thinking and answer as they stream, then a line on how it went."""

    def __init__(self) -> None:
        from rich.console import Console

        super().__init__()
        self._console = Console(emoji=False, highlight=False, soft_wrap=True)

    def event(self, event: dict[str, Any]) -> None:
        super().event(event)
        match event["type"]:
            case "thinking":
                self._print(event["text"], style="dim")
            case "answer.started":
                self._print("\n" if event["at_tokens"] else "", style="none")
            case "answer.delta":
                self._print(event["text"], style="bold")
            case "done":
                self._print(f"\n[{_summary(event, is_cut_short=self._is_cut_short)}]\n", style="dim")
            case _:
                pass

    def _print(self, text: str, *, style: str) -> None:
        if text:
            self._line_is_open = not text.endswith("\n")
        self._console.print(text, style=style, end="", markup=False)
        self._console.file.flush()


def _summary(done: dict[str, Any], *, is_cut_short: bool) -> str:
    stop, seconds = done["stop"], done["timing"]["total_s"]
    tokens = f"{stop['thinking_tokens']} of {stop['budget_tokens']} thinking tokens"
    end = "ended by the model" if stop["cause"] == "natural" else f"stopped by {stop['cause']}"
    return f"{tokens}, {end}, {seconds:.2f} s" + (f"; {CUT_SHORT}" if is_cut_short else "")
