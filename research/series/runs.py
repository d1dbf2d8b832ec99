"""The runs of a series: their folders, and the processes that train them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from anytime_training.config import BrpoRecipe, load_recipe
from anytime_training.section import ENVIRONMENT_PREFIX
from recording import current_commit

from series.table import Series

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training run."""

    series: Series
    row: str
    seed: int
    learning_rate: float | None
    """The recipe's if None."""
    folder: Path
    steps: int | None = None
    """The series' if None."""

    @property
    def environment(self) -> dict[str, str]:
        """The settings of the run, as variables."""
        return self.series.environment(self.row, learning_rate=self.learning_rate, steps=self.steps)

    def recipe(self) -> BrpoRecipe:
        """The resolved recipe.

        Raises:
            RecipeError: it is damaged.
        """
        recipe = load_recipe(self.series.recipe_path, environment=self.environment, flags={"seed": self.seed})
        assert isinstance(recipe, BrpoRecipe)
        return recipe

    def is_trained(self) -> bool:
        """Whether the run was evaluated after its last step."""
        evaluations = self.lines("evaluations.jsonl")
        return bool(evaluations) and evaluations[-1]["step"] >= self.recipe().steps

    def lines(self, name: str) -> list[dict[str, Any]]:
        """A metrics file of the run."""
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def commit(self) -> str | None:
        """The commit that the run was started at."""
        path = self.folder / "commit"
        return path.read_text() if path.exists() else None


def train(run: Run) -> str | None:
    """Train a run, or the rest of it, in a process with one thread.

    Returns:
        None, or what went wrong.
    """
    if run.is_trained():
        return None
    run.folder.mkdir(parents=True, exist_ok=True)
    command = [str(Path(sys.executable).with_name("anytime")), "train", str(run.series.recipe_path)]
    command += ["--out", str(run.folder), "--seed", str(run.seed)]
    if (run.folder / "training_state.pt").exists():
        command.append("--resume")
    else:
        (run.folder / "commit").write_text(current_commit() or "")
    failure = start(command, environment=run.environment, log=run.folder / "log.txt")
    if failure is None and not run.is_trained():
        return f"ended before its last step, see {run.folder / 'log.txt'}"
    return failure


def start(command: Sequence[str], *, environment: dict[str, str], log: Path) -> str | None:
    """Run a command to its end, with one thread; None, or what went wrong."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        status = subprocess.run(
            command,
            stdout=file,
            stderr=file,
            env=inherited | environment | {"OMP_NUM_THREADS": "1"},
            check=False,
        ).returncode
    return f"failed with status {status}, see {log}" if status else None


def in_parallel(
    items: Iterable[ItemT], work: Callable[[ItemT], str | None], *, workers: int, name: Callable[[ItemT], str]
) -> bool:
    """Work on items, `workers` at a time, in order; print each result. Whether all went well."""
    with ThreadPoolExecutor(workers) as pool:
        names = {pool.submit(work, item): name(item) for item in items}
        failures = 0
        for done in as_completed(names):
            failure = done.result()
            failures += failure is not None
            print(f"{names[done]}: {failure or 'done'}", flush=True)
    return not failures
