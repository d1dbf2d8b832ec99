"""Groups the tests for pytest-xdist: a group runs on one worker, and the slow groups start first.

A group is a file, or all tests that use the same slow session fixture, which then starts once. A test's own
mark overrides it.
"""

from __future__ import annotations

import pytest

SHARED = ("smollm2_transformers_engine", "smollm2_engine", "vllm_engine", "transformers_engine", "browser")
"""Slow session fixtures. A test that uses several belongs to the first."""

SLOW_FOLDERS = ("tests/training/", "tests/e2e/", "tests/docs/", "tests/attack/")


def group_for_workers(items: list[pytest.Item]) -> None:
    """Give each test the name of its group, and sort the tests by group."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=lambda item: _rank(_group(item)))


def _group(item: pytest.Item) -> str:
    """The mark's group, a slow fixture, or the file."""
    if (mark := item.get_closest_marker("xdist_group")) is not None:
        return mark.args[0]
    uses = {*getattr(item, "fixturenames", ())}
    if (call := getattr(item, "callspec", None)) is not None:
        uses |= {value for value in call.params.values() if isinstance(value, str)}
    return next((name for name in SHARED if name in uses), item.nodeid.partition("::")[0])


def _rank(group: str) -> int:
    if not group.startswith("tests/"):
        return 0
    return 1 if group.startswith(SLOW_FOLDERS) else 2
