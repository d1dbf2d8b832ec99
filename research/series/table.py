"""The table of a series: its rows, and what they have in common. Knows no runs.

A series is a TOML file beside this module. Each row is a line: a preset, and keys of the recipe that the row
changes.

    recipe = "countdown"                 # in training/recipes, or a path beside the series file
    [rows]
    grpo = { preset = "grpo" }
    ar-uniform = { preset = "ar-uniform" }
    own-past = { preset = "ar-uniform", "credit.baseline" = "v1_only" }
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anytime_training.section import ENVIRONMENT_PREFIX, Section
from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator
from recording import RECIPES

SERIES = Path(__file__).parent

START = "start"
"""Name of the row of the start checkpoint, which is not trained."""


class Tuning(Section):
    """The short runs that choose each row's learning rate."""

    learning_rates: list[PositiveFloat] = Field(default=[])
    """Learning rates that are tried."""
    steps: PositiveInt = 60
    """Steps of a short run."""
    seed: int = 1_000
    """Seed of the short runs; none of the series' seeds."""


class Series(Section):
    """Rows that are trained from the same start for the same number of steps."""

    name: str
    """The file's name."""
    folder: Path
    """The file's folder."""
    recipe: str
    """Recipe of all rows: a name in `training/recipes`, or a path relative to the folder."""
    seeds: list[int] = Field(default=[1, 2, 3, 4, 5])
    """Seeds of each row."""
    problems: PositiveInt = 2000
    """Held-out problems of the test split."""
    steps: PositiveInt | None = None
    """Steps of each run; the recipe's by default."""
    record: str
    """File in `research/results` that the report is written to."""
    plot: str | None = None
    """File in `docs` that the plot is drawn to."""
    reference: str = "grpo"
    """Row that every other row is compared with."""
    compare: list[tuple[str, str]] = Field(default=[])
    """Further pairs of rows."""
    shown: list[str] = Field(default=[])
    """Rows in the plot; all by default."""
    tuning: Tuning = Tuning()
    overrides: dict[str, Any] = Field(default={})
    """Keys of the recipe, with dots, that all rows change."""
    rows: dict[str, dict[str, Any]] = Field(min_length=1)
    """Keys of the recipe, with dots, that each row changes."""

    @model_validator(mode="after")
    def _rows_exist(self) -> Series:
        if START in self.rows:
            raise ValueError(f"no row can be named {START!r}")
        named = {name for pair in self.compare for name in pair} | set(self.shown)
        if unknown := named - {*self.rows, START}:
            raise ValueError(f"there is no row {', '.join(sorted(unknown))}")
        if self.tuning.seed in self.seeds:
            raise ValueError(f"tuning.seed {self.tuning.seed} is a seed of the series")
        return self

    @property
    def recipe_path(self) -> Path:
        """The recipe's file."""
        named = RECIPES / f"{self.recipe}.toml"
        return named if named.exists() else self.folder / self.recipe

    def environment(self, row: str, *, learning_rate: float | None, steps: int | None) -> dict[str, str]:
        """The environment variables that give a run its settings. The learning rate is constant.

        Args:
            learning_rate: the recipe's if None.
            steps: the series' if None.
        """
        keys = self.overrides | self.rows.get(row, {}) | {"learner.final_share": 1.0}
        keys["name"] = f"{self.name}-{row}"
        if learning_rate is not None:
            keys["learner.learning_rate"] = learning_rate
        if steps := steps or self.steps:
            keys["steps"] = steps
        return environment_of(keys)


def read_series(name: str) -> Series:
    """A series by its name or its file's path.

    Raises:
        SystemExit: there is none, or it is damaged.
    """
    path = SERIES / f"{name}.toml"
    path = path if path.exists() else Path(name)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        return Series(name=path.stem, folder=path.parent.absolute(), **values)
    except (OSError, tomllib.TOMLDecodeError, ValidationError, TypeError) as error:
        raise SystemExit(f"{path}: {error}") from error


def environment_of(keys: Mapping[str, Any]) -> dict[str, str]:
    """Keys of a recipe as environment variables: `credit.baseline` is ANYTIME_TRAIN_CREDIT__BASELINE."""
    return {ENVIRONMENT_PREFIX + key.upper().replace(".", "__"): _toml(value) for key, value in keys.items()}


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(repr(one) if isinstance(one, str) else _toml(one) for one in value)}]"
    return str(value)
