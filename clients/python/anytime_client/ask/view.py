"""Views that are not live: events as JSON, the answer alone, and plain text where there is no terminal."""

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
from anytime_client.printable import one_line

CUT_SHORT = "the answer was cut off at its token limit"
CAUSES = {
    "natural": "ended by the model",
    "client": "stopped on request",
    "stable": "stopped as its answers agreed",
    "load": "cut short by the server's load",
    "context": "stopped by the end of the window",
}


class View:
    """Shows what a session says, as a context that ends when nothing more will come."""

    def __init__(self) -> None:
        self.final_index: int | None = None
        """Which answer is the final one; None while it thinks."""
        self.answers: list[AnswerDone] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def show(self, event: Event) -> None:
        """The next event."""
        match event:
            case AnswerStarted(provisional=False):
                self.final_index = event.index
            case AnswerDone():
                self.answers.append(event)
            case _:
                pass

    def answering_now(self) -> None:
        """Its answer has been asked for. Called from a signal's handler."""

    def is_of_the_answer(self, event: Event) -> bool:
        """It is a piece of the final answer."""
        return isinstance(event, AnswerDelta) and event.index == self.final_index

    def is_cut_short(self) -> bool:
        """The final answer has not come to its end."""
        return any(answer.finish_reason == "length" for answer in self.answers if not answer.provisional)


class JsonView(View):
    def __exit__(self, *exception: object) -> None:
        _, error, _ = exception
        if isinstance(error, RequestRefused | SessionFailed):
            told = {"code": error.code, "message": str(error), "field": error.field}
            _print_json({"type": "error", "error": told})

    def show(self, event: Event) -> None:
        if isinstance(event, UnknownEvent):
            _print_json(event.raw)
        else:
            print(event.model_dump_json(exclude_unset=True), flush=True)


def _print_json(event: dict[str, Any]) -> None:
    print(json.dumps(event, ensure_ascii=False), flush=True)


class _TextView(View):
    """Knows whether the line that it prints is whole, and makes it so at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._line_is_open = False

    def __exit__(self, *exception: object) -> None:
        if self._line_is_open:
            print(flush=True)

    def _print(self, text: str) -> None:
        if text:
            print(text, end="", flush=True)
            self._line_is_open = not text.endswith("\n")


class AnswerView(_TextView):
    def show(self, event: Event) -> None:
        super().show(event)
        match event:
            case AnswerDelta() if self.is_of_the_answer(event):
                self._print(event.text)
            case Done():
                self._print("\n")
                if self.is_cut_short():
                    print(f"anytime ask: {CUT_SHORT}", file=sys.stderr)
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
            case AnswerDelta() if self.is_of_the_answer(event):
                self._print(event.text)
            case Done():
                self._print("\n")
                for answer in by_thinking(self.answers):
                    if answer.provisional:
                        self._print(f"[{_line(answer, event.answer)}]\n")
                self._print(f"[{summary(event, is_cut_short=self.is_cut_short())}]\n")
            case _:
                pass


def _line(answer: Answer, final: str) -> str:
    same = "the same" if says_the_same(answer.text, final) else "another"
    return f"{answer.at_tokens} tokens: {one_line(answer.text)} (confidence {answer.confidence:.2f}, {same})"


def by_thinking(answers: list[AnswerDone]) -> list[AnswerDone]:
    """In the order of the thinking that they are based on, the final one last."""
    return sorted(answers, key=lambda answer: (not answer.provisional, answer.at_tokens))


def says_the_same(text: str, other: str) -> bool:
    """But for case and white space."""
    return one_line(text).casefold() == one_line(other).casefold()


def summary(done: Done, *, is_cut_short: bool) -> str:
    """One line on how it went."""
    tokens = f"{done.stop.thinking_tokens} of {done.stop.budget_tokens} thinking tokens"
    end = CAUSES.get(done.stop.cause, f"stopped by {done.stop.cause}")
    return f"{tokens}, {end}, {done.timing.total_s:.2f} s" + (f"; {CUT_SHORT}" if is_cut_short else "")
