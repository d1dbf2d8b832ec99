"""The view for a terminal: the thinking dimmed, a ruler of its tokens below it, then the answer bright.

What is settled is printed and stays in the scrollback. Only the last line of the text and the ruler are live.
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
from anytime_client.ask.view import View, by_thinking, says_the_same, summary
from anytime_client.events import (
    AnswerDelta,
    AnswerDone,
    AnswerStarted,
    Done,
    Event,
    Started,
    Thinking,
)
from anytime_client.printable import CONTROL, one_line

THINKING, ANSWER = "dim", "bold"
FRAME_S = 1 / 15


class LiveView(View):
    def __init__(self, budgets: Sequence[int]) -> None:
        super().__init__()
        self._console = Console(emoji=False, highlight=False)
        self._text = _Flow(self._console)
        self._ruler = Ruler(budgets)
        self._hint = "Ctrl-C: answer now"
        # Not refreshed by rich itself, which mixes up the lines if another thread prints just then.
        self._live = Live(
            console=self._console, get_renderable=self._shown, transient=True, auto_refresh=False
        )
        self._prints = threading.Lock()
        self._has_ended = threading.Event()

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        threading.Thread(target=self._refresh, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._has_ended.set()
        with self._prints:
            self._live.stop()
            self._text.settle()

    def answering_now(self) -> None:
        self._hint = "answering; Ctrl-C: give up"

    def show(self, event: Event) -> None:
        with self._prints:
            super().show(event)
            self._show(event)

    def _refresh(self) -> None:
        while not self._has_ended.wait(FRAME_S):
            with self._prints:
                if not self._has_ended.is_set():
                    self._live.refresh()

    def _show(self, event: Event) -> None:
        match event:
            case Started():
                self._ruler.budget_tokens = event.budget.tokens
            case Thinking():
                self._ruler.tokens = event.total_tokens
                self._text.add(event.text, THINKING)
            case AnswerStarted(provisional=True):
                self._ruler.answered_at.append(event.at_tokens)
            case AnswerStarted():
                self._text.settle()
                if event.at_tokens:
                    self._console.print(self._ruler)
            case AnswerDelta() if self.is_of_the_answer(event):
                self._text.add(event.text, ANSWER)
            case Done():
                self._text.settle()
                self._end(event)
            case _:
                pass

    def _end(self, done: Done) -> None:
        if any(answer.provisional for answer in self.answers):
            self._console.print()
            self._console.print(_table(by_thinking(self.answers)))
        self._console.print(Text(summary(done, is_cut_short=self.is_cut_short()), style="dim"))

    def _shown(self) -> RenderableType:
        if self.final_index is not None:
            return self._text.open_line
        if self._ruler.budget_tokens is None:
            return Text("waiting for the server", style="dim")
        answers = by_thinking(self.answers)
        latest = [_brief(answers[-1])] if answers else []
        hint = Text(self._hint, style="dim", no_wrap=True, overflow="ellipsis")
        return Group(self._text.open_line, self._ruler, *latest, hint)


class _Flow:
    """Text that comes in pieces: printed line by line as lines become whole."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.open_line = Text()
        """The one that goes on."""

    def add(self, text: str, style: str) -> None:
        """The next piece."""
        clean = text.translate(CONTROL).expandtabs(4)
        whole = Text(self.open_line.plain + clean, style=style)
        # First put aside, then printed: what is live is drawn anew with every line.
        *settled, self.open_line = whole.wrap(self._console, self._console.width)
        for line in settled:
            self._console.print(line)

    def settle(self) -> None:
        """What comes next begins a line."""
        line, self.open_line = self.open_line, Text()
        if line:
            self._console.print(line)


def _brief(answer: AnswerDone) -> Text:
    brief = Text(no_wrap=True, overflow="ellipsis")
    brief.append(f"◆ after {answer.at_tokens}: ", style="yellow")
    return brief.append(f"{one_line(answer.text).translate(CONTROL)} ({answer.confidence:.2f})")


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
            Text(one_line(answer.text).translate(CONTROL), style="none" if answer.provisional else ANSWER),
            f"{answer.confidence:.2f}",
            "" if not answer.provisional else "yes" if says_the_same(answer.text, final) else "no",
        )
    return table
