"""The decorator that makes a test a row of the fault matrix in `docs/faults.md`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Test = TypeVar("Test", bound=Callable[..., object])


def attack(*, done: str, client: str, left: str) -> Callable[[Test], Test]:
    """State what a test does, what clients see and what is left afterwards; the test asserts all of it.

    `scripts/docs/fault_matrix.py` reads these texts from the source, so they are literals.
    """
    del done, client, left
    return lambda test: test
