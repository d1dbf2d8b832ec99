"""The groups of tests for pytest-xdist."""

from __future__ import annotations

import os

import pytest


def test_a_file_is_a_group(request: pytest.FixtureRequest) -> None:
    """pytest-xdist appends the group to the ids of a worker's tests, if it is set early enough."""
    in_parallel = os.environ.get("PYTEST_XDIST_WORKER") and request.config.getoption("loadgroup", False)
    if not in_parallel:
        pytest.skip("one process runs all tests")
    assert request.node.nodeid.endswith("@tests/test_distribution.py")
