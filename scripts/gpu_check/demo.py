"""The demo's BRPO recipe on the device, while there is time: accuracy at each budget before and after."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from anytime_training.brpo import EVALUATIONS_NAME, train_brpo
from anytime_training.config import load_recipe
from anytime_training.config.brpo import BrpoRecipe
from anytime_training.progress import METRICS_NAME
from anytime_training.run import open_run

from gpu_check.record import ROOT
from gpu_check.stages import Context

RECIPE = ROOT / "training" / "recipes" / "demo-brpo.toml"
TINY = {
    "ANYTIME_TRAIN_STEPS": "2",
    "ANYTIME_TRAIN_ROLLOUT__PROMPTS": "2",
    "ANYTIME_TRAIN_ROLLOUT__GROUP_SIZE": "2",
    "ANYTIME_TRAIN_EVALUATION__PROBLEMS": "4",
}
RESERVED_S = 15.0
"""Time kept for what follows the last step."""


def run(context: Context) -> None:
    recipe = load_recipe(RECIPE, environment=TINY if context.tiny else {}, flags={})
    assert isinstance(recipe, BrpoRecipe)
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "run"

        def report_progress() -> None:
            metrics, evaluations = (_lines(folder / name) for name in (METRICS_NAME, EVALUATIONS_NAME))
            if not metrics:
                return
            context.report("seconds", round(time.monotonic() - started_s, 2))
            context.report("steps", len(metrics))
            context.report("last_step", metrics[-1])
            context.report("evaluations", {"first": evaluations[0], "last": evaluations[-1]})

        def should_stop() -> bool:
            report_progress()
            return context.seconds_left < RESERVED_S

        with open_run(folder, recipe, resume=False, should_stop=should_stop) as opened:
            done = train_brpo(recipe, opened)
        report_progress()
        context.report("whole_recipe", done)


def _lines(path: Path) -> list[dict[str, Any]]:
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    )
