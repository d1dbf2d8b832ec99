"""Baselines of the thinking: one to a file, with a line here that makes it a name for recipes.

A module has a function `baseline(inputs: BaselineInputs) -> values_PGB`. A policy gradient stays unbiased if
the value for segment j of a rollout depends on nothing that this rollout samples from segment j on. This file
imports no torch: recipes are checked against it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from anytime_training.baselines.base import BaselineInputs


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineEntry:
    """A baseline, as recipes and documentation name it."""

    module: str
    """Module in this folder."""
    formula: str
    """Its formula, for the documentation."""
    is_unbiased: bool | None
    """Whether the policy gradient stays unbiased; None if only with `leave_one_out`."""
    needs_values: bool = False
    """Whether it needs the predictions of the value head."""


BASELINES = {
    "brpo": BaselineEntry(
        module="brpo", formula="(j-1)/m · V1 + (m-j+1)/m · V2, the paper's", is_unbiased=None
    ),
    "v1_only": BaselineEntry(
        module="own_past", formula="V1, the rollout's own earlier rewards", is_unbiased=True
    ),
    "v2_only": BaselineEntry(
        module="group_mean", formula="V2, the mean return of the prompt's rollouts", is_unbiased=None
    ),
    "none": BaselineEntry(module="none", formula="0", is_unbiased=True),
    "fitted": BaselineEntry(
        module="fitted",
        formula="c + a · V1 + d · R̄ + e · V̄1, by ridge regression on other prompts",
        is_unbiased=True,
    ),
    "shrunken": BaselineEntry(
        module="shrunken", formula="R̄, shrunk towards the mean of other prompts", is_unbiased=True
    ),
    "brpo_shrunken": BaselineEntry(
        module="brpo_shrunken", formula="`brpo` with `shrunken` in place of V2", is_unbiased=True
    ),
    "value": BaselineEntry(
        module="value",
        formula="V of a value head on the network's hidden states, fitted to earlier steps",
        is_unbiased=True,
        needs_values=True,
    ),
    "value_td": BaselineEntry(
        module="value_td",
        formula="as an advantage P r̂ + V' - V, with V' the value at the next budget",
        is_unbiased=False,
        needs_values=True,
    ),
}
"""By the name that recipes use."""

if TYPE_CHECKING:
    BaselineName = str
else:
    from typing import Literal

    BaselineName = Literal[tuple(BASELINES)]


def load_baseline(name: BaselineName) -> Callable[[BaselineInputs], Tensor]:
    """The function of a baseline.

    Raises:
        ValueError: there is no such baseline.
    """
    if name not in BASELINES:
        raise ValueError(f"baseline must be one of {tuple(BASELINES)}, not {name!r}")
    module = import_module(f"{__name__}.{BASELINES[name].module}")
    function: Callable[[BaselineInputs], Tensor] = module.baseline
    return function
