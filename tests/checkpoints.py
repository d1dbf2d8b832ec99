"""Copies of checkpoints that differ in their configuration."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any


def with_config(checkpoint: Path, target: Path, **changes: Any) -> Path:
    """Copy the checkpoint to the new folder `target`, with other values in its config.json."""
    shutil.copytree(checkpoint, target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | changes))
    return target
