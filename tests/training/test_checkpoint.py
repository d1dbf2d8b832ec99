"""Files on disk are complete, whenever the writing stopped."""

from pathlib import Path

import pytest
import torch
from anytime_training.checkpoint import TrainingState, load_state, replacing_folder, save_state
from anytime_training.errors import TrainingFailed


def test_a_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint"
    for text in ("old", "new"):
        with replacing_folder(target) as partial:
            (partial / f"{text}.txt").write_text(text)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert [path.name for path in target.iterdir()] == ["new.txt"]


def test_a_failure_half_way_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint"
    with replacing_folder(target) as partial:
        (partial / "weights").write_text("old")

    def fail() -> None:
        with replacing_folder(target) as partial:
            (partial / "weights").write_text("ne")
            raise OSError("disk full")

    with pytest.raises(TrainingFailed, match=r"checkpoint cannot be written: disk full; earlier"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert (target / "weights").read_text() == "old"
    with replacing_folder(target) as partial:
        assert not list(partial.iterdir()), "nothing of the failed attempt remains"


def test_a_crash_between_the_two_moves_loses_nothing(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint"
    with replacing_folder(target) as partial:
        (partial / "weights").write_text("old")
    target.rename(tmp_path / "checkpoint.displaced")

    def fail() -> None:
        with replacing_folder(target):
            raise OSError("disk full")

    with pytest.raises(TrainingFailed, match="disk full"):
        fail()
    assert (target / "weights").read_text() == "old"


def test_state_comes_back(tmp_path: Path) -> None:
    assert load_state(tmp_path) is None
    state = TrainingState(step=3, model={"weight": torch.tensor([1.5])}, optimiser={"state": {}}, seconds=2.5)
    save_state(tmp_path, state)
    loaded = load_state(tmp_path)
    assert loaded is not None
    assert (loaded.step, loaded.seconds, loaded.optimiser) == (3, 2.5, {"state": {}})
    assert torch.equal(loaded.model["weight"], torch.tensor([1.5]))
    assert [path.name for path in tmp_path.iterdir()] == ["training_state.pt"]
