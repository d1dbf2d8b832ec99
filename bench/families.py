"""Which families of models are served right? Runs the tests of every family, and writes their outcomes.

    python bench/families.py

The engine is scripted and plays each family's tokens: recognition, prompts, budgets and the texts around the
thinking are measured, not weights.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

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


class Outcomes:
    """A pytest plugin that keeps the outcome of each test, by family and column."""

    def __init__(self) -> None:
        self.by_family: dict[str, dict[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test, _, parameters = report.nodeid.rpartition("::")[2].partition("[")
        if test not in COLUMNS or (report.when != "call" and report.passed):
            return
        family = max((name for name in _families() if name in parameters), key=len)
        cells = self.by_family.setdefault(family, {})
        outcome = {"passed": "yes", "failed": "no", "skipped": "–"}[report.outcome]
        if hasattr(report, "wasxfail"):
            outcome = "no"
        if cells.get(COLUMNS[test]) != "no":
            cells[COLUMNS[test]] = outcome


def main() -> int:
    parser = parser_of(__doc__)
    arguments = parser.parse_args()
    outcomes = Outcomes()
    options = [
        "-q",
        "--nightly",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        str(ROOT / "tests/families/test_served.py"),
    ]
    status = pytest.main(options, plugins=[outcomes])
    rows = [_row(name, outcomes.by_family[name]) for name in _families() if name in outcomes.by_family]
    write_record("families", {"rows": rows}, parser=parser, arguments=arguments)
    columns = list(rows[0])
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(row.values()) + " |")
    return int(status)


def _families() -> list[str]:
    sys.path.insert(0, str(ROOT))
    from tests.families.catalogue import FAMILIES

    return list(FAMILIES)


def _row(name: str, cells: dict[str, str]) -> dict[str, Any]:
    from tests.families.folders import provenance

    parts = provenance(name)
    sources = {"vocabulary": str(parts["vocabulary"]), "template": str(parts["template"])}
    return {"family": name, **{column: cells.get(column, "–") for column in COLUMNS.values()}, **sources}


if __name__ == "__main__":
    sys.exit(main())
