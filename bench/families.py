"""Which models are served right? Runs the tests of every checkpoint, and writes their outcomes.

    python bench/families.py

The engine is scripted and plays each model's tokens: recognition, prompts, budgets and the texts around the
thinking are measured, not weights. `families_on_vllm.py` measures the same on vLLM.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from records import parser_of, write_record

ROOT = Path(__file__).parents[1]
COLUMNS = {
    "test_family_is_recognised": "recognised",
    "test_prompt_opens_thinking_once": "rendered",
    "test_budget_is_exact": "budget exact",
    "test_thinking_that_ends_by_itself": "natural end",
    "test_template_without_thinking_is_used_as_it_is": "no thinking",
    "test_prompt_of_the_answer": "answer opened",
    "test_continuation_goes_on_from_the_same_thinking": "continuation",
    "test_tool_calls_are_read_as_the_template_writes_them": "tools",
    "test_text_before_a_call_is_shown_before_the_call_is_complete": "calls streamed",
    "test_thinking_again_before_the_answer_counts_on_the_budget": "interleaved",
    "test_earlier_thinking_is_rendered_as_the_template_keeps_it": "history",
}
ROW = ("checkpoint", "recognised as", *COLUMNS.values(), "vocabulary", "template")
"""Columns of the record."""


class Outcomes:
    """A pytest plugin that keeps the outcome of each test, by checkpoint and column."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        """
        Args:
            columns: of the table, by the names of the tests; several tests may share a column.
        """
        self._columns = columns
        self.by_checkpoint: dict[str, dict[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = report.nodeid.rpartition("::")[2].partition("[")[0]
        if test not in self._columns or (report.when != "call" and report.passed):
            return
        checkpoint = str(dict(report.user_properties)["checkpoint"])
        cells = self.by_checkpoint.setdefault(checkpoint, {})
        outcome = {"passed": "yes", "failed": "no", "skipped": "–"}[report.outcome]
        if hasattr(report, "wasxfail"):
            outcome = "no"
        column = self._columns[test]
        if cells.get(column) != "no" and (outcome != "–" or column not in cells):
            cells[column] = outcome


def outcomes(tests: str, columns: Mapping[str, str]) -> tuple[int, list[dict[str, str]]]:
    """Run the tests of one file.

    Args:
        tests: the file in the repository.
        columns: of the table, by the names of the tests.

    Returns:
        pytest's exit status, and a row for each checkpoint, in the order of the catalogue.
    """
    sys.path.insert(0, str(ROOT))
    from tests.families.catalogue import CHECKPOINTS

    plugin = Outcomes(columns)
    options = ["-q", "--nightly", "-n", "0", "-p", "no:cacheprovider", str(ROOT / tests)]
    status = pytest.main(options, plugins=[plugin])
    found = plugin.by_checkpoint
    return int(status), [
        {"checkpoint": name, "recognised as": checkpoint.family}
        | {column: found[name].get(column, "–") for column in columns.values()}
        for name, checkpoint in CHECKPOINTS.items()
        if name in found
    ]


def show(rows: list[dict[str, str]]) -> None:
    """Print a table in Markdown."""
    columns = list(rows[0])
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(row.values()) + " |")


def main() -> int:
    parser = parser_of(__doc__)
    arguments = parser.parse_args()
    status, rows = outcomes("tests/families/test_served.py", COLUMNS)
    from tests.families.catalogue import CHECKPOINTS
    from tests.families.folders import provenance

    for row in rows:
        origin = provenance(CHECKPOINTS[row["checkpoint"]])
        row |= {part: str(origin[part]) for part in ("vocabulary", "template")}
    write_record("families", {"rows": rows}, parser=parser, arguments=arguments)
    show(rows)
    return status


if __name__ == "__main__":
    sys.exit(main())
