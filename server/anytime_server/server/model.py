"""Finds and loads the model that the options name."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path

from anytime_server.engine.checkpoint import require_complete
from anytime_server.errors import InvalidRequest, UnusableModel, first_line
from anytime_server.models.catalogue import CATALOGUE, models_folder
from anytime_server.server.settings import ServeSettings
from anytime_server.text.model import BUNDLED_MODEL, Model

TEMPLATE_LIMIT_S = 3
"""Processor time of the chat template for two short conversations."""
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


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
    model = Model.load(folder, name=name, preset=settings.reasoning_preset)
    _require_harmless_template(model)
    return model


def _require_harmless_template(model: Model) -> None:
    """Render short conversations in a process that can be killed; in the server, an endless loop cannot be.

    An exception of the template is reported when the server warms up.
    """
    messages = [{"role": "user", "content": "What is 2 + 2?"}]
    if (child := os.fork()) == 0:
        try:
            for limit, value in ((resource.RLIMIT_CPU, TEMPLATE_LIMIT_S), (resource.RLIMIT_CORE, 0)):
                resource.setrlimit(limit, (value, value))
            for tools in (None, [TOOL] if model.takes_tools else None):
                with suppress(InvalidRequest):
                    model.tokenizer.render(messages, tools)
        finally:
            os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise UnusableModel(
            f"{model.folder}: the chat template takes more than {TEMPLATE_LIMIT_S} s for a short question",
            field="model",
        )


def _find(name: str) -> Path:
    """The folder of a checkpoint: `name`, a model that was got, or one from the Hugging Face hub."""
    if (folder := Path(name).expanduser()).is_dir():
        return folder
    if name in CATALOGUE:
        if (folder := models_folder() / name).is_dir():
            return folder
        raise UnusableModel(f"{name} is not here yet: get it with `anytime models get {name}`", field="model")
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
