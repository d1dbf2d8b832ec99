"""Does training for every budget help? The methods of the BRPO paper's tables, on the demo task.

    python research/learning.py train --seeds 1 2 3 --workers 2   # to runs/learning; resumes unfinished runs
    python research/learning.py report --problems 2000            # held-out accuracy, intervals, plots

Every run starts from the same warm start and samples the same number of tokens. The report asks every
checkpoint the same held-out problems with the same seeds, and compares presets by a bootstrap over problems
and runs.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from anytime_server.text.model import BUNDLED_MODELS, Model
from anytime_training.interval import paired_bootstrap
from recording import RECIPES, RESULTS, ROOT, write_record

PRESETS = {
    "ar-uniform": "demo-brpo",
    "ar-linear": "demo-brpo-linear",
    "ar-base": "demo-brpo-base",
    "grpo": "demo-grpo",
    "grpo+linear": "demo-grpo-linear",
    "grpo+decouple": "demo-grpo-decouple",
    "grpo+vr": "demo-grpo-vr",
}
"""The recipe of each preset."""
WARM_START = "warmstart"
TEST_SEED = 1_000
"""Draws the held-out problems, which no training reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training run."""

    preset: str
    seed: int
    folder: Path

    @property
    def is_finished(self) -> bool:
        """Whether the run was evaluated after its last step."""
        evaluations, metrics = self.lines("evaluations.jsonl"), self.lines("metrics.jsonl")
        if not evaluations or not metrics:
            return False
        recipe = json.loads((self.folder / "recipe.json").read_text())
        is_last = metrics[-1]["rollout_tokens"] >= recipe["max_rollout_tokens"]
        return is_last and evaluations[-1]["step"] == metrics[-1]["step"] + 1

    def lines(self, name: str) -> list[dict[str, Any]]:
        """A metrics file of the run."""
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def runs_in(folder: Path, presets: list[str], seeds: list[int]) -> list[Run]:
    """All runs, ordered by seed first, so that the runs that finish first can be compared."""
    return [
        Run(preset=preset, seed=seed, folder=folder / f"{preset}-{seed}")
        for seed in seeds
        for preset in presets
    ]


def train(runs: list[Run], *, workers: int) -> None:
    """Train the unfinished runs, `workers` at a time, with one thread each."""

    def work(run: Run) -> None:
        if run.is_finished:
            return
        recipe = RECIPES / f"{PRESETS[run.preset]}.toml"
        command = [str(Path(sys.executable).with_name("anytime")), "train", str(recipe)]
        command += ["--out", str(run.folder), "--seed", str(run.seed)]
        if (run.folder / "training_state.pt").exists():
            command.append("--resume")
        run.folder.mkdir(parents=True, exist_ok=True)
        with (run.folder / "log.txt").open("a") as log:
            status = subprocess.run(
                command, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False
            ).returncode
        print(
            f"{run.preset} seed {run.seed}: {'done' if status == 0 else f'failed, see {log.name}'}",
            flush=True,
        )

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, runs))


async def measure(checkpoint: Path, *, num_problems: int) -> tuple[list[int], np.ndarray]:
    """Budgets, and right_NB: whether the answer to each held-out problem is right at each budget."""
    from anytime_training.config import BrpoRecipe, load_recipe
    from anytime_training.start import build_engine
    from anytime_training.validate import validate, validation_problems

    recipe = load_recipe(RECIPES / "demo-brpo.toml", environment={}, flags={})
    assert isinstance(recipe, BrpoRecipe)
    model = Model.load(checkpoint)
    engine = build_engine(recipe, model)
    await engine.start()
    try:
        validation = await validate(
            validation_problems(recipe.task, num_problems, seed=TEST_SEED, split="test"),
            task=recipe.task,
            model=model,
            engine=engine,
            budgets=recipe.evaluated_budgets,
            answer_tokens=model.manifest.answer_tokens,
            seed=TEST_SEED,
        )
    finally:
        await engine.stop()
    return recipe.evaluated_budgets, validation.right_PB.numpy().astype(float)


def report(runs: list[Run], *, num_problems: int) -> dict[str, Any]:
    """Ask every checkpoint the same problems and compare the presets."""
    rows: list[dict[str, Any]] = []
    rights: dict[str, list[np.ndarray]] = {}
    warm_start = Run(preset=WARM_START, seed=0, folder=BUNDLED_MODELS / "demo-warmstart")
    for run in [warm_start, *(run for run in runs if run.is_finished)]:
        is_start = run.preset == WARM_START
        checkpoint = run.folder if is_start else run.folder / "checkpoint"
        budgets, right_NB = asyncio.run(measure(checkpoint, num_problems=num_problems))
        rights.setdefault(run.preset, []).append(right_NB)
        accuracy = right_NB.mean(0)
        weights = (checkpoint / "model.safetensors").read_bytes()
        rows.append(
            {
                "preset": run.preset,
                "seed": run.seed,
                "budgets": budgets,
                "accuracy": accuracy.round(6).tolist(),
                "anytime": round(float(accuracy.mean()), 6),
                "final": round(float(accuracy[-1]), 6),
                "rollout_tokens": 0 if is_start else run.lines("metrics.jsonl")[-1]["rollout_tokens"],
                "checkpoint_sha256": hashlib.sha256(weights).hexdigest(),
            }
        )
        print(
            f"{run.preset:14} seed {run.seed}: anytime {rows[-1]['anytime']:.3f}, final "
            f"{rows[-1]['final']:.3f}  {' '.join(f'{value:.3f}' for value in accuracy)}",
            flush=True,
        )
    budgets = rows[0]["budgets"]
    return {
        "runs": rows,
        "comparisons": compare(rights, budgets),
    }


def compare(rights: dict[str, list[np.ndarray]], budgets: list[int]) -> list[dict[str, Any]]:
    """Compare each preset with GRPO and with the warm start, and each ablation with its full method."""
    pairs = [(preset, "grpo") for preset in rights if preset not in ("grpo", WARM_START)]
    pairs += [(preset, WARM_START) for preset in rights if preset != WARM_START]
    pairs += [("ar-uniform", "ar-base"), ("ar-uniform", "ar-linear"), ("ar-base", "grpo+decouple")]
    comparisons: list[dict[str, Any]] = []
    for a, b in pairs:
        if a not in rights or b not in rights:
            continue
        for metric, pick in _metrics(budgets).items():
            a_SN, b_SN = (np.array([pick(right_NB) for right_NB in rights[preset]]) for preset in (a, b))
            mean, low, high = paired_bootstrap(a_SN, b_SN, seed=0)
            comparisons.append(
                {
                    "a": a,
                    "b": b,
                    "metric": metric,
                    "difference": round(mean, 6),
                    "ci_low": round(low, 6),
                    "ci_high": round(high, 6),
                    "n": a_SN.shape[1],
                }
            )
    return comparisons


def _metrics(budgets: list[int]) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """The compared metrics: each maps right_NB to one value per problem."""
    at_each = {f"accuracy@{budget}": partial(_at, index) for index, budget in enumerate(budgets)}
    return {"anytime": lambda right_NB: right_NB.mean(1), "final": partial(_at, -1), **at_each}


def _at(index: int, right_NB: np.ndarray) -> np.ndarray:
    return right_NB[:, index]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("train", "report"))
    parser.add_argument("--out", type=Path, default=Path("runs/learning"), help="default: %(default)s")
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--workers", type=int, default=1, help="concurrent runs (default: %(default)s)")
    parser.add_argument("--problems", type=int, default=2000, help="held-out problems (default: %(default)s)")
    arguments = parser.parse_args()
    runs = runs_in(arguments.out, arguments.presets, arguments.seeds)
    if arguments.what == "train":
        train(runs, workers=arguments.workers)
        return
    from plots import plot_learning

    record = report(runs, num_problems=arguments.problems)
    write_record(RESULTS / "learning.json", record)
    plot_learning(record, runs, ROOT / "docs" / "learning.svg")


if __name__ == "__main__":
    main()
