"""Held-out accuracy of a run, and the small file that it leaves.

The file has all that the report needs, so that a series that is interrupted, or whose folder is lost, keeps
its finished runs.

Dimensions: N problems, B budgets.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from anytime_server.text.model import Model
from anytime_training.config import BrpoRecipe
from anytime_training.start import build_engine, start_folder
from anytime_training.validate import validate, validation_problems
from recording import RESULTS, write_record

from series.runs import Run
from series.table import START, Series

TEST_SEED = 1_000
"""Draws the held-out problems and their sampling, the same for all runs. No training reads these problems."""


def record_path(series: Series, row: str, seed: int, *, results: Path = RESULTS) -> Path:
    """The file of a run."""
    return results / "learning" / series.name / f"{row}-{seed}.json"


def write_run_record(run: Run, *, results: Path = RESULTS) -> Path:
    """Evaluate the checkpoint of a trained run, or the start checkpoint, and write the run's file."""
    recipe = run.recipe()
    is_start = run.row == START
    if not is_start and not run.is_trained():
        raise SystemExit(f"{run.folder}: the run has not reached its {recipe.steps} steps")
    checkpoint = start_folder(recipe.model) if is_start else run.folder / "checkpoint"
    right_NB = asyncio.run(ask(recipe, checkpoint, num_problems=run.series.problems))
    curve = [] if is_start else validation_curve(run)
    accuracy_B = right_NB.mean(0)
    path = record_path(run.series, run.row, run.seed, results=results)
    path.parent.mkdir(parents=True, exist_ok=True)
    measured = {
        "series": run.series.name,
        "row": run.row,
        "preset": None if is_start else recipe.preset,
        "seed": run.seed,
        "learning_rate": None if is_start else recipe.learner.learning_rate,
        "steps": 0 if is_start else recipe.steps,
        "rollout_tokens": curve[-1]["rollout_tokens"] if curve else 0,
        "seconds": curve[-1]["seconds"] if curve else 0,
        "budgets": recipe.evaluated_budgets,
        "accuracy": accuracy_B.round(6).tolist(),
        "anytime": round(float(accuracy_B.mean()), 6),
        "final": round(float(accuracy_B[-1]), 6),
        "n": len(right_NB),
        "validation": curve,
        "checkpoint_sha256": hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest(),
        "right_NB": pack_bits(right_NB),
        "recipe": recipe.model_dump(mode="json"),
    }
    write_record(path, measured | ({} if is_start else {"commit": run.commit()}))
    return path


async def ask(recipe: BrpoRecipe, checkpoint: Path, *, num_problems: int) -> np.ndarray:
    """Whether the answer to each held-out problem is right at each evaluated budget: right_NB."""
    model = Model.load(checkpoint, preset=recipe.reasoning_preset)
    engine = build_engine(recipe, model)
    try:
        await engine.start()
        validation = await validate(
            validation_problems(recipe.task, num_problems, seed=TEST_SEED, split="test"),
            task=recipe.task,
            model=model,
            engine=engine,
            budgets=recipe.evaluated_budgets,
            answer_tokens=recipe.rollout.answer_tokens or model.manifest.answer_tokens,
            seed=TEST_SEED,
            num_threads=recipe.grading_threads,
        )
    finally:
        await engine.stop()
    return validation.right_PB.numpy()


def validation_curve(run: Run) -> list[dict[str, Any]]:
    """Accuracy on the validation split over steps, sampled tokens, and seconds of training.

    Seconds are those of sampling, grading and learning, without evaluations.
    """
    seconds = [0.0, *accumulate(sum(line["timing"].values()) for line in run.lines("metrics.jsonl"))]
    return [
        {
            "step": line["step"],
            "rollout_tokens": line["rollout_tokens"],
            "seconds": round(seconds[line["step"]], 1),
            "accuracy": [round(value, 4) for value in line["accuracy"]],
            "anytime": round(line["anytime"], 5),
            "final": round(line["final"], 5),
        }
        for line in run.lines("evaluations.jsonl")
    ]


def read_run_records(series: Series, *, results: Path = RESULTS) -> list[dict[str, Any]]:
    """The files of a series' finished runs: the start's first, then by the order of rows and by seed.

    Files of rows that the series no longer has are left out.
    """
    order = [START, *series.rows]
    records = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((results / "learning" / series.name).glob("*.json"))
    ]
    return sorted(
        (record for record in records if record["row"] in order),
        key=lambda record: (order.index(record["row"]), record["seed"]),
    )


def pack_bits(right_NB: np.ndarray) -> str:
    """The bits of right_NB, row by row, in base64."""
    return base64.b64encode(np.packbits(right_NB.astype(bool)).tobytes()).decode()


def unpack_bits(text: str, num_problems: int, num_budgets: int) -> np.ndarray:
    """right_NB as numbers, 0 or 1."""
    packed = np.frombuffer(base64.b64decode(text), dtype=np.uint8)
    bits = np.unpackbits(packed, count=num_problems * num_budgets)
    return bits.reshape(num_problems, num_budgets).astype(float)
