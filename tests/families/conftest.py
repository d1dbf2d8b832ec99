"""Names the checkpoint in the reports of its tests, which `bench/families.py` reads."""

from __future__ import annotations

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    call = getattr(item, "callspec", None)
    if call is not None and "checkpoint" in call.params:
        item.user_properties.append(("checkpoint", call.params["checkpoint"].name))
