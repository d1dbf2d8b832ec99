"""Finds and loads the model that the options name."""

from __future__ import annotations

from pathlib import Path

from anytime_server.engine.checkpoint import require_complete
from anytime_server.errors import UnusableModel, first_line
from anytime_server.server.settings import ServeSettings
from anytime_server.text.model import BUNDLED_MODEL, Model


def load_model(settings: ServeSettings) -> Model:
    """Tokenizer, manifest and reasoning format of the model; the engine loads the weights.

    Raises:
        UnusableModel: the checkpoint is missing, incomplete or has no reasoning format.
    """
    folder, name = BUNDLED_MODEL, settings.name
    if settings.model is not None:
        folder = _find(settings.model)
        if folder != Path(settings.model).expanduser():
            name = name or settings.model  # a model of the hub: its folder's name is a hash
    require_complete(folder)
    return Model.load(folder, name=name, preset=settings.reasoning_preset)


def _find(name: str) -> Path:
    """The folder of a checkpoint, downloaded from the Hugging Face hub unless `name` is a folder."""
    if (folder := Path(name).expanduser()).is_dir():
        return folder
    if name.startswith(("/", ".", "~")):
        raise UnusableModel(f"there is no folder {name}")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name))
    except Exception as error:
        raise UnusableModel(
            f"{name!r} is neither a folder nor a model that can be downloaded from the Hugging Face hub: "
            f"{first_line(error)}"
        ) from error
