"""CSV output: one row per request."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from anytime_client.bench.outcomes import Outcome

COLUMNS = [field.name for field in fields(Outcome) if field.name != "inter_token_s"]
"""All fields but `inter_token_s`, which is a list."""


def write_rows(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write a header and the rows; unknown values are left empty."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([getattr(outcome, name) for name in COLUMNS] for outcome in outcomes)
