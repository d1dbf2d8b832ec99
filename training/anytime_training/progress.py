"""Progress of a run: `metrics.jsonl` for programs, a bar or plain lines for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anytime_server.printable import escaped
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

METRICS_NAME = "metrics.jsonl"


class JsonLines:
    """A file with a JSON object per line, each with its step."""

    def __init__(self, path: Path, *, from_step: int) -> None:
        """Open the file. Lines of `from_step` and later steps, from a run that was killed, are dropped."""
        kept: list[str] = []
        if path.exists() and from_step:
            kept = [line for line in _lines(path) if _step(line) < from_step]
        partial = path.with_suffix(".jsonl.partial")
        partial.write_text("".join(kept), encoding="utf-8")
        partial.replace(path)
        self._file = path.open("a", buffering=1, encoding="utf-8")

    def write(self, values: dict[str, Any]) -> None:
        """Add a line; `values` has the key `step`."""
        self._file.write(json.dumps(values, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._file.close()


def _lines(path: Path) -> list[str]:
    """Lines with their line ends. Only a line feed ends a line: texts may hold other line separators."""
    with path.open(encoding="utf-8", newline="\n") as file:
        return list(file)


def _step(line: str) -> float:
    """Step of a line; infinity for an incomplete line, which is dropped."""
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError):
        return float("inf")


class ProgressReport:
    """A bar in a terminal; elsewhere a line every `line_every` steps."""

    def __init__(self, *, steps: int, first_step: int, line_every: int = 50) -> None:
        self._console = Console(stderr=True)
        self._steps = steps
        self._line_every = line_every
        self._bar: Progress | None = None
        if self._console.is_terminal:
            self._bar = Progress(
                MofNCompleteColumn(),
                BarColumn(),
                TextColumn("{task.description}", markup=False),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("", total=steps, completed=first_step)
            self._bar.start()

    def step(self, number: int, text: str, *, steps: int | None = None) -> None:
        """Report step `number`, counted from 1.

        Args:
            steps: current estimate of the number of steps.
        """
        self._steps = steps or self._steps
        if self._bar is not None:
            self._bar.update(self._task, completed=number, total=self._steps, description=text)
        elif number % self._line_every == 0 or number in (1, self._steps):
            self.print_line(f"step {number}/{self._steps}  {text}")

    def print_line(self, text: str) -> None:
        """Print one line."""
        self._console.print(escaped(text), highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
