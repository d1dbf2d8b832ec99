"""Markers in text that is not complete yet."""

from __future__ import annotations

import pytest
from anytime_server.reasoning import num_begun


@pytest.mark.parametrize(
    ("text", "num"),
    [
        ("", 0),
        ("7", 0),
        ("7 <", 1),
        ("7 </thi", 5),
        ("7 </think>", 0),
        ("7 </think><", 1),
        ("</thi nk", 0),
        ("7 ST", 2),
        ("7 STO<", 1),
    ],
)
def test_most_of_the_end_that_may_begin_a_marker_counts(text: str, num: int) -> None:
    assert num_begun(text, ("</think>", "STOP")) == num


def test_nothing_begins_without_markers() -> None:
    assert num_begun("7 <", ()) == 0
