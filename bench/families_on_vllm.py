"""Which models does vLLM serve right? Runs every checkpoint's tests there, and writes the outcomes.

    python bench/families_on_vllm.py

Every checkpoint has its own vocabulary and chat template, and two layers of random weights: in its own
architecture where vLLM's CPU build runs it, and otherwise in a small Qwen3's.
"""

from __future__ import annotations

import sys

from families import outcomes, show
from records import parser_of, write_record

COLUMNS = {
    "test_budget_is_exact": "budget exact",
    "test_thinking_that_ends_by_itself": "natural end",
    "test_think_end_that_the_continuation_completes": "natural end",
    "test_form_without_thinking": "no thinking",
    "test_tool_call": "tools",
    "test_history_with_thinking": "history",
    "test_continuation": "continuation",
}
ROW = ("checkpoint", "recognised as", *dict.fromkeys(COLUMNS.values()), "weights")
"""Columns of the record."""


def main() -> int:
    parser = parser_of(__doc__)
    arguments = parser.parse_args()
    status, rows = outcomes("tests/families/test_on_vllm.py", COLUMNS)
    from tests.families.catalogue import CHECKPOINTS

    for row in rows:
        runs = CHECKPOINTS[row["checkpoint"]].architecture.runs
        row["weights"] = "own architecture" if runs else "Qwen3 stand-in"
    write_record("families_on_vllm", {"rows": rows}, parser=parser, arguments=arguments)
    show(rows)
    return status


if __name__ == "__main__":
    sys.exit(main())
