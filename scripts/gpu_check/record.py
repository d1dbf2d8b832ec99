"""The record of a check: one JSON file, complete and valid after every change.

Knows no stage. `record.schema.json` is its schema. Imports no torch: where torch fails there is a record too.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Literal

Status = Literal["running", "passed", "failed", "timed_out", "skipped"]

ROOT = Path(__file__).parents[2]
PACKAGES = {"torch", "transformers", "triton", "tokenizers", "safetensors", "numpy", "pydantic", "llguidance"}
"""Distributions whose versions are recorded."""


class Record:
    """The measurements so far, in memory and in a file."""

    def __init__(self, path: Path, *, options: dict[str, Any], commit: str | None) -> None:
        self._path = path
        self._started = time.monotonic()
        self._content: dict[str, Any] = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": " ".join(["scripts/gpu-check.sh", *sys.argv[1:]]),
            "commit": commit or _commit(),
            "machine": _machine(),
            "versions": {
                "python": platform.python_version(),
                **{package.name: package.version for package in distributions() if package.name in PACKAGES},
            },
            "options": options,
            "finished": False,
            "seconds": 0.0,
            "stages": {},
        }
        self._write()

    def begin(self, stage: str, *, limit_s: float) -> None:
        """A stage begins, with a time limit in seconds."""
        self._content["stages"][stage] = {
            "status": "running",
            "limit_s": round(limit_s, 1),
            "seconds": 0.0,
            "results": {},
        }
        self._write()

    def add(self, stage: str, name: str, value: Any) -> None:
        """Add a result of a running stage; `value` is JSON."""
        self._content["stages"][stage]["results"][name] = value
        self._write()

    def end(self, stage: str, status: Status, *, seconds: float, error: str | None = None) -> None:
        """A stage has ended."""
        entry = self._content["stages"][stage]
        entry |= {"status": status, "seconds": round(seconds, 2)}
        if error is not None:
            entry["error"] = error
        self._write()

    def finish(self) -> None:
        """All stages have ended."""
        self._content["finished"] = True
        self._write()

    def _write(self) -> None:
        self._content["seconds"] = round(time.monotonic() - self._started, 2)
        partial = self._path.with_name(self._path.name + ".partial")
        partial.write_text(json.dumps(self._content, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, self._path)


def _machine() -> dict[str, Any]:
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    lines = _output(query) or ""
    gpus = [line.split(", ") for line in lines.splitlines() if line.count(", ") == 2]
    return {
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "gpus": [{"name": name, "memory": memory, "driver": driver} for name, memory, driver in gpus],
    }


def _commit() -> str | None:
    """The checked-out commit, with `-dirty` if files differ from it; None outside a repository."""
    return _output(["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"])


def _output(command: list[str]) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
