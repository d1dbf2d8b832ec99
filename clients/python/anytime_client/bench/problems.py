"""What is asked: problems from a file, or the examples that a server names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

PROMPT_FIELDS = ("question", "prompt", "problem")


class UnusableProblems(ValueError):
    """The file cannot be read, or not as problems."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One prompt."""

    prompt: str
    answer: str | None = None
    """The right one, where it is known."""

    def is_solved_by(self, text: str) -> bool:
        """The answer is the right one, but for case, white space and a full stop at its end."""
        return self.answer is not None and _plain(text) == _plain(self.answer)


def read_problems(path: Path) -> Sequence[Problem]:
    """Problems from lines of JSON: each with a `question` (or `prompt`, `problem`), perhaps an `answer`.

    Raises:
        UnusableProblems: saying where and why.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise UnusableProblems(f"cannot read {path}: {reason}") from error
    problems = [_problem(line, f"{path}, line {n}") for n, line in enumerate(lines, 1) if line.strip()]
    if not problems:
        raise UnusableProblems(f"there are no problems in {path}")
    return problems


def _problem(line: str, where: str) -> Problem:
    try:
        said: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UnusableProblems(f"{where}: this is not JSON: {error}") from error
    fields = cast(dict[str, Any], said) if isinstance(said, dict) else {}
    prompt = next((fields[name] for name in PROMPT_FIELDS if isinstance(fields.get(name), str)), None)
    if prompt is None:
        raise UnusableProblems(f"{where}: there is no text under {' or '.join(PROMPT_FIELDS)}")
    answer = fields.get("answer")
    return Problem(prompt=prompt, answer=None if answer is None else str(answer))


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold().removesuffix(".")
