"""The prompts of a run, with their correct answers where known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

PROMPT_FIELDS = ("question", "prompt", "problem")


class InvalidProblems(ValueError):
    """The problems cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A prompt, and its correct answer."""

    prompt: str
    answer: str | None = None
    """None if the correct answer is not known."""

    def is_solved_by(self, text: str) -> bool:
        """Whether `text` equals the correct answer, ignoring case, white space and a final full stop."""
        return self.answer is not None and _normalized(text) == _normalized(self.answer)


def read_problems(path: Path) -> Sequence[Problem]:
    """Read JSON lines: each has a `question` (or `prompt`, or `problem`), and optionally its `answer`.

    Raises:
        InvalidProblems: names the file, the line and the reason.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the file is not valid UTF-8"
        raise InvalidProblems(f"cannot read {path}: {reason}") from error
    problems = [_problem(line, f"{path}, line {n}") for n, line in enumerate(lines, 1) if line.strip()]
    if not problems:
        raise InvalidProblems(f"{path} has no problems")
    return problems


def _problem(line: str, where: str) -> Problem:
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidProblems(f"{where}: not valid JSON: {error}") from error
    fields = cast(dict[str, Any], value) if isinstance(value, dict) else {}
    prompt = next((fields[name] for name in PROMPT_FIELDS if isinstance(fields.get(name), str)), None)
    if prompt is None:
        raise InvalidProblems(f"{where}: no text in any of the fields {', '.join(PROMPT_FIELDS)}")
    answer = fields.get("answer")
    return Problem(prompt=prompt, answer=None if answer is None else str(answer))


def _normalized(text: str) -> str:
    return " ".join(text.split()).casefold().removesuffix(".")
