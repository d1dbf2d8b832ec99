"""The instructions of the Dockerfile, as text. Builds nothing and fills in no variables."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
TEXT = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))


def arguments(instruction: str) -> list[str]:
    """The arguments of all instructions of this kind, in order, with continuation lines joined."""
    return re.findall(rf"^{instruction} (.+)$", TEXT, re.MULTILINE)


def pairs(instruction: str) -> dict[str, str]:
    """Names and values of all ENV or LABEL instructions."""
    words = [word for line in arguments(instruction) for word in shlex.split(line)]
    return dict(word.split("=", 1) for word in words)


def bases() -> dict[str, str]:
    """The base of each stage, by the stage's name."""
    found = [line.split(" AS ") for line in arguments("FROM")]
    return {stage: base for base, stage in found}


def user() -> str:
    """The `UID:GID` that both targets run as."""
    [user] = set(arguments("USER"))
    return user
