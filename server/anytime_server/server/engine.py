"""Creates the engine that the options choose. Imports no engine but that one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

from anytime_server.engine import Engine
from anytime_server.engine.supervised import SupervisedEngine
from anytime_server.server.settings import ServeSettings
from anytime_server.text.model import Model


def create_engine(
    settings: ServeSettings, model: Model, *, adapters: Mapping[str, Path] | None = None
) -> Engine:
    """The chosen engine, not started, under a supervisor that restarts it.

    Args:
        adapters: folders of LoRA adapters by name.
    """
    return SupervisedEngine(
        _builder(settings, model, adapters or {}),
        start_s=settings.engine_start_s,
        stall_s=settings.engine_stall_s,
        restart_wait_s=settings.engine_restart_wait_s,
        down_s=settings.engine_down_s,
    )


def _builder(settings: ServeSettings, model: Model, adapters: Mapping[str, Path]) -> Callable[[], Engine]:
    if settings.engine == "scripted":
        from anytime_server.engine.scripted import ScriptedEngine

        immortal = settings.scripted.model_copy(update={"die_after_tokens": None})
        scripts = itertools.chain([settings.scripted], itertools.repeat(immortal))  # only the first one dies
        return lambda: ScriptedEngine(model.tokenizer, model.reasoning, script=next(scripts))
    if settings.engine == "transformers":
        from anytime_server.engine.transformers import TransformersEngine

        return lambda: TransformersEngine(
            model.folder, options=settings.transformers, tokenizer=model.tokenizer.files
        )
    from anytime_server.engine.vllm import VllmEngine

    return lambda: VllmEngine(
        model.folder, options=settings.vllm, adapters=adapters, tokenizer=model.tokenizer.files
    )
