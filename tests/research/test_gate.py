"""The gate's figures, by hand."""

from __future__ import annotations

from typing import Any

import gate
import pytest
import torch

ALL = torch.ones(1, 2, 2, dtype=torch.bool)


def test_persistence_by_hand() -> None:
    # Rewards of two answers at two budgets: (1, 0 | 1, 1) and (0, 0 | 0, 1). Wrong at the first: 1/2 of the
    # first rollout, none of which stays wrong, and all of the second, half of which does: 1/2 of 3/2.
    rewards = torch.tensor([[[[1.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]]]])
    wrong, right = gate.persistence(rewards, ALL)
    assert wrong == pytest.approx([1 / 3])
    assert right == pytest.approx([1.0])


def test_only_thinking_that_goes_on_persists_or_not() -> None:
    rewards = torch.tensor([[[[1.0], [0.0]], [[0.0], [0.0]]]])
    reached = torch.tensor([[[True, False], [True, True]]])
    assert gate.persistence(rewards, reached) == ([1.0], [None])
    assert gate.persistence(rewards, ALL) == ([1.0], [0.0])


@pytest.mark.parametrize(
    ("thinking", "style"), [("Quick: 4, 8", "Quick"), (" try 3+4", "try"), ("a:b c", "a"), ("", "")]
)
def test_style_is_the_first_word(thinking: str, style: str) -> None:
    assert gate.style_of(thinking) == style


def test_best_styles() -> None:
    styles = [
        ["a", "a", "a", "b", "b", "b", "c"],  # a is best; c has too few rollouts to be compared
        ["a", "a", "a", "b", "b", "b", "b"],  # both are equally good
        ["b", "b", "b", "a", "a", "a", "a"],  # all rewards are equal: no style is preferred
    ]
    rewards = torch.tensor([[1.0, 1, 0, 0, 0, 1, 1], [1.0, 1, 1, 1, 1, 1, 1], [0.0] * 7])
    rewards[1] = torch.tensor([0.5, 0.5, 0.5, 0.25, 0.25, 0.75, 0.75])
    assert gate.best_styles(styles, rewards) == {"a": 0.75, "b": 0.25}


PASSING: dict[str, Any] = {
    "wrong_stays_wrong": [0.75, 0.9],
    "right_stays_right": [0.95, 1.0],
    "variance": {"v1": [1.0, 2.0, 0.6], "v2": [0.4, 0.5, 1.0], "brpo": [0.45, 0.35, 0.7]},
    "reached": [1.0, 0.8, 0.5],
    "best_style": {"a": 0.6, "b": 0.4},
    "answer_share": 0.2,
}


def test_figures_at_their_limits_pass() -> None:
    assert all(line["passes"] for line in gate.checks(PASSING))


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"wrong_stays_wrong": [0.9, 0.74]}, 0),
        ({"wrong_stays_wrong": [0.9, None]}, 0),
        ({"right_stays_right": [0.94, 1.0]}, 1),
        ({"variance": PASSING["variance"] | {"v1": [0.1, 0.1, 0.61]}}, 2),
        ({"variance": PASSING["variance"] | {"brpo": [0.4, 0.36, 0.7]}}, 3),
        ({"variance": PASSING["variance"] | {"brpo": [0.46, 0.35, 0.7]}}, 4),
        ({"reached": [1.0, 0.8, 0.49]}, 5),
        ({"best_style": {"a": 0.61, "b": 0.39}}, 6),
        ({"best_style": {}}, 6),
        ({"answer_share": 0.21}, 7),
    ],
)
def test_a_figure_beyond_its_limit_fails(change: dict[str, Any], failing: int) -> None:
    passes = [line["passes"] for line in gate.checks(PASSING | change)]
    assert [number for number, passed in enumerate(passes) if not passed] == [failing]
