"""Finding the model that the options name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from anytime_server.errors import UnusableModel, UnusableOption
from anytime_server.models.catalogue import models_folder
from anytime_server.server.model import find_adapters, load_model
from anytime_server.server.settings import ServeSettings
from anytime_server.text.model import Model


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


@pytest.mark.parametrize("name", ["a" * 300, "/" + "a" * 300, "~nobody-of-this-name/model"])
def test_name_that_no_folder_can_have_is_refused(tiny_model: Model, name: str) -> None:
    with pytest.raises(UnusableModel, match="there can be no folder"):
        load_model(ServeSettings(model=name))
    with pytest.raises(UnusableModel, match="there can be no folder"):
        find_adapters(ServeSettings(lora_modules={"a": name}), tiny_model)


def test_name_that_no_file_can_have_is_refused() -> None:
    for options in ({"manifest": "a" * 300}, {"chat_template": "a" * 300}):
        with pytest.raises((UnusableModel, UnusableOption), match=r"cannot be read: .*too long"):
            load_model(ServeSettings.model_validate(options))
