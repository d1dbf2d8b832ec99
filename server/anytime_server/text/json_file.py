"""JSON files of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anytime_server.errors import UnusableModel


def json_object(path: Path) -> dict[str, Any]:
    """The contents of a JSON file; empty if there is none.

    Raises:
        UnusableModel: the file cannot be read, or has no JSON object.
    """
    if not path.exists():
        return {}
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnusableModel(f"{path} cannot be read: {error}") from error
    if not isinstance(contents, dict):
        raise UnusableModel(f"{path} cannot be read: it is not a JSON object")
    return contents
