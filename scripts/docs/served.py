"""Tables of how checkpoints are served, from the records of `bench/families.py` and `families_on_vllm.py`."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from schemas import table

BENCH = Path(__file__).parents[2] / "bench"


def scripted() -> str:
    """Each checkpoint on the scripted engine."""
    return _recorded("families")


def on_vllm() -> str:
    """Each checkpoint on vLLM."""
    return _recorded("families_on_vllm")


def _recorded(measurement: str) -> str:
    """The record of a measurement; fails if it has other columns than the measurement now writes."""
    sys.path.append(str(BENCH))
    from records import read_rows

    columns: tuple[str, ...] = import_module(measurement).ROW
    rows = read_rows(measurement, columns)
    if not rows:
        return "There is no record yet."
    return table({column: [row[column] for row in rows] for column in columns})
