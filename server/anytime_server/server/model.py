"""Finds and loads the model that the options name."""

from __future__ import annotations

import logging
import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Any

from anytime_server.engine.checkpoint import require_complete
from anytime_server.engine.vllm.arguments import downloads, loads_weights, trusts_remote_code
from anytime_server.errors import InvalidRequest, UnusableModel, UnusableOption, first_line
from anytime_server.models.catalogue import CATALOGUE, models_folder
from anytime_server.printable import beginning
from anytime_server.server.settings import ServeSettings
from anytime_server.text.model import BUNDLED_MODEL, Model
from anytime_server.text.tokenizer import ModelTokenizer

logger = logging.getLogger(__name__)

TEMPLATE_LIMIT_S = 3
"""Processor time of the chat template for two short conversations."""
TEXT_FILES = ["*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.py"]
"""All files of a model but its weights."""
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def load_model(settings: ServeSettings, *, weights: bool = True) -> Model:
    """Tokenizer, manifest and reasoning format of the model; the engine loads the weights.

    Args:
        weights: whether they must be there, and are downloaded with the model.

    Raises:
        UnusableModel: the checkpoint is missing, incomplete or has no reasoning format.
    """
    files = {} if weights else {"allow_patterns": TEXT_FILES}
    folder, name = find_model(settings.model, **downloads(settings.vllm) | files)
    if weights and (settings.engine != "vllm" or loads_weights(settings.vllm)):
        require_complete(folder)
    model = Model.load(
        folder,
        name=settings.name or name,
        preset=settings.reasoning_preset,
        manifest=_file(settings.manifest),
        chat_template=read_template(settings.chat_template),
        forcing=settings.forcing,
        trust_remote_code=trusts_remote_code(settings.vllm),
        check=require_harmless_template,
    )
    if weights and model.note:
        logger.warning("%s is served as %s. %s", model.name, model.family.name, model.note)
    return model


def require_harmless_template(tokenizer: ModelTokenizer) -> None:
    """Render short conversations in a process that can be killed; in the server, an endless loop cannot be.

    An exception of the template is reported when the server warms up.
    """
    messages = [{"role": "user", "content": "What is 2 + 2?"}]
    if (child := os.fork()) == 0:
        try:
            for limit, value in ((resource.RLIMIT_CPU, TEMPLATE_LIMIT_S), (resource.RLIMIT_CORE, 0)):
                resource.setrlimit(limit, (value, value))
            for tools in (None, [TOOL] if tokenizer.chat.takes_tools else None):
                with suppress(InvalidRequest):
                    tokenizer.chat.render(messages, tools)
        finally:
            os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise UnusableModel(
            f"{tokenizer.folder}: the chat template takes more than {TEMPLATE_LIMIT_S} s for a short "
            "question",
            field="model",
        )


def _file(name: str | None) -> Path | None:
    return None if name is None else Path(name).expanduser()


def read_template(name: str | None) -> str | None:
    """The text of a chat template.

    Raises:
        UnusableOption: the file cannot be read.
    """
    path = _file(name)
    try:
        return None if path is None else path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UnusableOption(f"--chat-template: {path} cannot be read: {error}") from error


def find_adapters(settings: ServeSettings, model: Model) -> dict[str, Path]:
    """Folders of the LoRA adapters by name.

    Raises:
        UnusableModel: there is no adapter of a name.
        UnusableOption: an adapter has the name of the model.
    """
    if model.name in settings.lora_modules:
        raise UnusableOption(f"--lora-modules: {model.name}: is the name of the model already")
    found: dict[str, Path] = {}
    for name, folder in settings.lora_modules.items():
        try:
            found[name] = _find(folder)
        except UnusableModel as error:
            raise UnusableModel(f"--lora-modules: {name}: {error}", field="lora_modules") from error
    return found


def find_model(model: str | None, **options: Any) -> tuple[Path, str | None]:
    """The folder of a checkpoint, and the name of a model of the hub, whose folder's name is a hash.

    Args:
        model: a folder, or a model's name on the Hugging Face hub; None for the bundled model.
        options: of the download, by vLLM's names; `allow_patterns` names the files to get.

    Raises:
        UnusableModel: there is no such folder or model.
    """
    if model is None:
        return BUNDLED_MODEL, None
    folder = _find(model, **options)
    return folder, None if folder == Path(model).expanduser() else model


def _find(name: str, **options: Any) -> Path:
    """The folder of a checkpoint: `name`, a model that was got, or one from the Hugging Face hub."""
    try:
        folder = Path(name).expanduser()
        is_folder = folder.is_dir()
    except (OSError, RuntimeError) as error:  # a name that is too long, or the home of nobody
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnusableModel(f"there can be no folder {beginning(name)}: {reason}", field="model") from error
    if is_folder:
        return folder
    if name in CATALOGUE:
        if (folder := models_folder() / name).is_dir():
            return folder
        raise UnusableModel(f"{name} is not here yet: get it with `anytime models get {name}`", field="model")
    if name.startswith(("/", ".", "~")):
        raise UnusableModel(f"there is no folder {name}")
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                name,
                revision=options.get("revision"),
                cache_dir=options.get("download_dir"),
                token=options.get("hf_token"),
                allow_patterns=options.get("allow_patterns"),
                ignore_patterns=options.get("ignore_patterns"),
            )
        )
    except Exception as error:
        raise UnusableModel(
            f"{name!r} is neither a folder nor a model that can be downloaded from the Hugging Face hub: "
            f"{first_line(error)}"
        ) from error
