"""A row of CSV for each request."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from anytime_client.bench.outcomes import Outcome

COLUMNS = [one.name for one in fields(Outcome) if one.name != "inter_token_s"]
"""The one left out is a list."""


def write_rows(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write them with a heading; what is not known is left empty."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([getattr(outcome, name) for name in COLUMNS] for outcome in outcomes)
