"""Sinks get the numbers, nested ones under their path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from anytime_training.config import BrpoRecipe
from anytime_training.config.brpo import RolloutConfig
from anytime_training.errors import RecipeError
from anytime_training.sinks import Sinks, open_sinks


def recipe(*report_to: str) -> BrpoRecipe:
    return BrpoRecipe.model_validate(
        {
            "name": "tiny",
            "model": "demo",
            "steps": 1,
            "report_to": report_to,
            "rollout": RolloutConfig(budgets=[8]).model_dump(),
        }
    )


def test_numbers_are_reported_under_their_path() -> None:
    seen = []
    Sinks([lambda step, scalars: seen.append((step, scalars))]).write(
        3, {"loss": 0.5, "step": 3, "timing": {"learn": 1}, "variance": {"v1": [1.0, None]}, "name": "x"}
    )
    assert seen == [(3, {"loss": 0.5, "step": 3.0, "timing/learn": 1.0, "variance/v1/0": 1.0})]


def test_no_sink_is_opened_by_default(tmp_path: Path) -> None:
    with open_sinks(recipe(), tmp_path) as sinks:
        sinks.write(0, {"loss": 1})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["wandb", "trackio", "tensorboard"])
def test_missing_package_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with (
        pytest.raises(RecipeError, match=f"report_to: {name} is not installed"),
        open_sinks(recipe(name), tmp_path),
    ):
        pass


def test_tensorboard_can_read_what_is_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with open_sinks(recipe("tensorboard"), tmp_path) as sinks:
        sinks.write(4, {"loss": 0.25})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(4, 0.25)]
