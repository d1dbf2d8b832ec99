"""The fault matrix of the documentation, read from the decorators in `tests/attack` without an import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from schemas import table

TESTS = Path(__file__).parents[2] / "tests" / "attack"
COLUMNS = {"done": "attack", "client": "the client sees", "left": "left behind"}
"""Titles of the table, by argument of the decorator `attack`."""


def matrix() -> str:
    """A table for each module of attacks, under the first sentence of its docstring."""
    return "\n\n".join(_tables())


def _tables() -> Iterator[str]:
    for path in sorted(TESTS.glob("test_*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        rows = [texts for node in module.body if (texts := _texts(node))]
        if rows:
            title = (ast.get_docstring(module) or path.stem).partition("\n")[0].rstrip(".")
            yield f"### {title}\n\n" + table(
                {heading: [row[key] for row in rows] for key, heading in COLUMNS.items()}
            )


def _texts(node: ast.stmt) -> dict[str, str]:
    """The arguments of a test's decorator `attack`; empty for anything else."""
    for decorator in getattr(node, "decorator_list", ()):
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "attack":
            return {word.arg: ast.literal_eval(word.value) for word in decorator.keywords if word.arg}
    return {}
