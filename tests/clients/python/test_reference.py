"""The reference documentation lists every public name."""

from __future__ import annotations

import re
from pathlib import Path

import anytime_client

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "python.md"


def test_reference_lists_every_public_name() -> None:
    listed = re.findall(r"^::: anytime_client\.(\w+)$", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(anytime_client.__all__)
