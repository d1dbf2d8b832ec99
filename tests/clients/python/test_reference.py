"""The reference lists all that there is to import."""

from __future__ import annotations

import re
from pathlib import Path

import anytime_client

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "python.md"


def test_every_name_is_in_the_reference() -> None:
    listed = re.findall(r"^::: anytime_client\.(\w+)$", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(anytime_client.__all__)
