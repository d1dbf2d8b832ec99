"""The view for a terminal: the thinking dimmed, a ruler of its tokens below it, then the answer bright.

Completed lines are printed and stay in the scrollback; only the last line of text and the ruler are redrawn.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from anytime_client.ask.ruler import Ruler
from anytime_client.ask.view import View, is_same_answer, sorted_by_thinking, summary
from anytime_client.events import (
    AnswerDelta,
    AnswerDone,
    AnswerStarted,
    Done,
    Event,
    Started,
    Thinking,
)
from anytime_client.terminal_text import one_line, without_controls

THINKING, ANSWER = "dim", "bold"
FRAME_S = 1 / 15


class LiveView(View):
    def __init__(self, budgets: Sequence[int]) -> None:
        super().__init__()
        self._console = Console(emoji=False, highlight=False)
        self._text = _WrappedText(self._console)
        self._ruler = Ruler(budgets)
        self._hint = "Ctrl-C: answer now"
        # Not refreshed by rich's own thread, which garbles the lines if another thread prints meanwhile.
        self._live = Live(
            console=self._console, get_renderable=self._render, transient=True, auto_refresh=False
        )
        self._print_lock = threading.Lock()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        threading.Thread(target=self._refresh, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        with self._print_lock:
            self._live.stop()
            self._text.end_line()

    def answer_requested(self) -> None:
        self._hint = "answering; Ctrl-C: give up"

    def show(self, event: Event) -> None:
        with self._print_lock:
            super().show(event)
            self._show(event)

    def _refresh(self) -> None:
        while not self._ended.wait(FRAME_S):
            with self._print_lock:
                if not self._ended.is_set():
                    self._live.refresh()

    def _show(self, event: Event) -> None:
        match event:
            case Started():
                self._ruler.budget_tokens = event.budget.tokens + event.budget.grace
            case Thinking():
                self._ruler.tokens = event.total_tokens
                self._text.add(event.text, THINKING)
            case AnswerStarted(provisional=True):
                self._ruler.answered_at.append(event.at_tokens)
            case AnswerStarted():
                self._text.end_line()
                if event.at_tokens:
                    self._console.print(self._ruler)
            case AnswerDelta() if self.is_final_delta(event):
                self._text.add(event.text, ANSWER)
            case Done():
                self._text.end_line()
                self._end(event)
            case _:
                pass

    def _end(self, done: Done) -> None:
        if any(answer.provisional for answer in self.answers):
            self._console.print()
            self._console.print(_table(sorted_by_thinking(self.answers)))
        self._console.print(Text(summary(done, is_cut_off=self.is_cut_off()), style="dim"))

    def _render(self) -> RenderableType:
        if self.final_index is not None:
            return self._text.open_line
        if self._ruler.budget_tokens is None:
            return Text("waiting for the server", style="dim")
        answers = sorted_by_thinking(self.answers)
        latest = [_short_answer(answers[-1])] if answers else []
        hint = Text(self._hint, style="dim", no_wrap=True, overflow="ellipsis")
        return Group(self._text.open_line, self._ruler, *latest, hint)


class _WrappedText:
    """Text received in deltas: wrapped to the terminal's width, and printed line by line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.open_line = Text()
        """The last line, which is not printed yet."""

    def add(self, text: str, style: str) -> None:
        """Append a delta."""
        clean = without_controls(text).expandtabs(4)
        unprinted = Text(self.open_line.plain + clean, style=style)
        # `open_line` first: printing a line redraws it.
        *complete, self.open_line = unprinted.wrap(self._console, self._console.width)
        for line in complete:
            self._console.print(line)

    def end_line(self) -> None:
        """Print the last line."""
        line, self.open_line = self.open_line, Text()
        if line:
            self._console.print(line)


def _short_answer(answer: AnswerDone) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"◆ after {answer.at_tokens}: ", style="yellow")
    return line.append(f"{without_controls(one_line(answer.text))} ({answer.confidence:.2f})")


def _table(answers: Sequence[AnswerDone]) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("after", justify="right")
    table.add_column("answer", no_wrap=True, overflow="ellipsis")
    table.add_column("confidence", justify="right")
    table.add_column("agrees")
    final = answers[-1].text
    for answer in answers:
        table.add_row(
            str(answer.at_tokens),
            Text(without_controls(one_line(answer.text)), style="none" if answer.provisional else ANSWER),
            f"{answer.confidence:.2f}",
            "" if not answer.provisional else "yes" if is_same_answer(answer.text, final) else "no",
        )
    return table
