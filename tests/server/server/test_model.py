"""Finding the model that the options name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from anytime_server.errors import UnusableModel
from anytime_server.models.catalogue import models_folder
from anytime_server.server.model import load_model
from anytime_server.server.settings import ServeSettings


def test_a_model_that_was_got_is_found_by_its_name(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = ServeSettings(model="smollm2")
    with pytest.raises(
        UnusableModel, match="smollm2 is not here yet: get it with `anytime models get smollm2`"
    ):
        load_model(settings)
    shutil.copytree(tiny_checkpoint, models_folder() / "smollm2")
    model = load_model(settings)
    assert (model.name, model.folder) == ("smollm2", models_folder() / "smollm2")
