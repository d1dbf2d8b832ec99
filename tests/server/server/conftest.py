"""Sources of options: the environment and a TOML file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Unsets our variables."""
    for name in os.environ:
        if name.upper().startswith("ANYTIME_"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str], str]:
    """Writes a file of options and returns its path."""

    def write(text: str) -> str:
        path = tmp_path / "serve.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write
