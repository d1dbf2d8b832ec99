"""Views without a terminal: events as JSON, the answer alone, and plain text."""

from __future__ import annotations

import json
import sys
from typing import Any, Self

from anytime_client.errors import RequestRefused, SessionFailed
from anytime_client.events import (
    Answer,
    AnswerDelta,
    AnswerDone,
    AnswerStarted,
    Done,
    Event,
    Thinking,
    UnknownEvent,
)
from anytime_client.terminal_text import escaped_json, message_line, one_line, print_error, without_controls

ANSWER_CUT_OFF = "the answer was cut off at its token limit"
CAUSES = {
    "natural": "ended by the model",
    "client": "stopped on request",
    "stable": "stopped because the answers agreed",
    "load": "shortened under load",
    "context": "stopped at the end of the context window",
    "loop": "stopped because it repeated itself",
}


class View:
    """Shows the events of a session. A context manager: leaving it ends the output."""

    def __init__(self) -> None:
        self.final_index: int | None = None
        """Index of the final answer; None during the thinking."""
        self.answers: list[AnswerDone] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def show(self, event: Event) -> None:
        """Show the next event."""
        match event:
            case AnswerStarted(provisional=False):
                self.final_index = event.index
            case AnswerDone():
                self.answers.append(event)
            case _:
                pass

    def answer_requested(self) -> None:
        """Show that the user requested the answer. Called from a signal handler."""

    def is_final_delta(self, event: Event) -> bool:
        """Whether the event is a delta of the final answer."""
        return isinstance(event, AnswerDelta) and event.index == self.final_index

    def is_cut_off(self) -> bool:
        """Whether the final answer ended at its token limit."""
        return any(answer.finish_reason == "length" for answer in self.answers if not answer.provisional)


class JsonView(View):
    def __exit__(self, *exception: object) -> None:
        _, error, _ = exception
        if isinstance(error, RequestRefused | SessionFailed):
            detail = {"code": error.code, "message": str(error), "field": error.field}
            _print_json({"type": "error", "error": detail})

    def show(self, event: Event) -> None:
        if isinstance(event, UnknownEvent):
            _print_json(event.raw)
        else:
            print(escaped_json(event.model_dump_json(exclude_unset=True)), flush=True)


def _print_json(event: dict[str, Any]) -> None:
    print(escaped_json(json.dumps(event, ensure_ascii=False)), flush=True)


class _TextView(View):
    """Ends its last line, if the session ends in the middle of it."""

    def __init__(self) -> None:
        super().__init__()
        self._is_exact = False
        """Print control characters as well."""
        self._line_is_open = False

    def __exit__(self, *exception: object) -> None:
        if self._line_is_open:
            print(flush=True)

    def _print(self, text: str) -> None:
        if text := text if self._is_exact else without_controls(text):
            print(text, end="", flush=True)
            self._line_is_open = not text.endswith("\n")


class AnswerView(_TextView):
    """The answer: exact in a pipe or a file, without control characters on a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._is_exact = not sys.stdout.isatty()

    def show(self, event: Event) -> None:
        super().show(event)
        match event:
            case AnswerDelta() if self.is_final_delta(event):
                self._print(event.text)
            case Done():
                self._print("\n")
                if self.is_cut_off():
                    print_error("ask", ANSWER_CUT_OFF)
            case _:
                pass


class PlainView(_TextView):
    def show(self, event: Event) -> None:
        super().show(event)
        match event:
            case Thinking():
                self._print(event.text)
            case AnswerStarted(provisional=False) if event.at_tokens:
                self._print("\n")
            case AnswerDelta() if self.is_final_delta(event):
                self._print(event.text)
            case Done():
                self._print("\n")
                for answer in sorted_by_thinking(self.answers):
                    if answer.provisional:
                        self._print(f"[{_line(answer, event.answer)}]\n")
                self._print(f"[{summary(event, is_cut_off=self.is_cut_off())}]\n")
            case _:
                pass


def _line(answer: Answer, final: str) -> str:
    same = "same as final" if is_same_answer(answer.text, final) else "differs from final"
    return f"{answer.at_tokens} tokens: {one_line(answer.text)} (confidence {answer.confidence:.2f}, {same})"


def sorted_by_thinking(answers: list[AnswerDone]) -> list[AnswerDone]:
    """The answers by their number of thinking tokens, the final one last."""
    return sorted(answers, key=lambda answer: (not answer.provisional, answer.at_tokens))


def is_same_answer(text: str, other: str) -> bool:
    """Whether two answers are equal, ignoring case and white space."""
    return one_line(text).casefold() == one_line(other).casefold()


def summary(done: Done, *, is_cut_off: bool) -> str:
    """One line: the tokens used, why the thinking stopped, and the time taken."""
    tokens = f"{done.stop.thinking_tokens} of {done.stop.budget_tokens} thinking tokens"
    end = CAUSES.get(done.stop.cause, f"stopped by {message_line(done.stop.cause)}")
    return f"{tokens}, {end}, {done.timing.total_s:.2f} s" + (f"; {ANSWER_CUT_OFF}" if is_cut_off else "")
