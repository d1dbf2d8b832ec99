"""Sampling defaults and end-of-turn ids from a checkpoint's `generation_config.json` and `config.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from anytime_server.errors import UnusableModel
from anytime_server.reasoning import FALLBACK, NEUTRAL, SamplingDefaults, SamplingOptions

GENERATION_CONFIG, CONFIG = "generation_config.json", "config.json"
NOTHING = SamplingDefaults(thinking=SamplingOptions(), answer=SamplingOptions())
RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "temperature": (lambda value: value >= 0, "at least 0"),
    "top_p": (lambda value: 0 < value <= 1, "over 0 and at most 1"),
    "top_k": (
        lambda value: value >= -1 and value == int(value),
        "a whole number, at least 1; 0 or -1 for all",
    ),
    "min_p": (lambda value: 0 <= value <= 1, "from 0 to 1"),
    "presence_penalty": (lambda value: -2 <= value <= 2, "from -2 to 2"),
    "frequency_penalty": (lambda value: -2 <= value <= 2, "from -2 to 2"),
    "repetition_penalty": (lambda value: value > 0, "over 0"),
}
"""The values that are read, those that can be used, and how these are described."""
NARROWING = ("temperature", "top_p", "top_k", "min_p")
"""A file with one of these says how to sample; those that it leaves out are then neutral."""


def sampling_defaults(folder: Path, *, family_defaults: SamplingDefaults | None = None) -> SamplingDefaults:
    """The sampling that `generation_config.json` gives for thinking and answer alike.

    As in vLLM, numbers apply whatever `do_sample` is; `false` without numbers says nothing.

    Args:
        family_defaults: apply where the file gives no value, before the fallback.

    Raises:
        UnusableModel: the file cannot be read, or has a value that cannot be used.
    """
    path = folder / GENERATION_CONFIG
    config = json_object(path)
    values = {name: value for name in RANGES if (value := _number(config, name, path)) is not None}
    if "top_k" in values:
        values["top_k"] = max(0, int(values["top_k"]))
    given: Any = values
    options, base = SamplingOptions(**given), FALLBACK
    if config.get("do_sample") is True or values.keys() & set(NARROWING):
        base = SamplingDefaults(thinking=NEUTRAL, answer=NEUTRAL)
    family = family_defaults or NOTHING
    return SamplingDefaults(
        thinking=options.over(family.thinking).over(base.thinking),
        answer=options.over(family.answer).over(base.answer),
    )


def end_of_turn_ids(folder: Path, *, added_ids: Collection[int]) -> frozenset[int]:
    """Token ids that end a turn by `generation_config.json` and `config.json`.

    A fine-tuned model's `config.json` can still have the id of another vocabulary, so that an id counts there
    only if the tokenizer has it as an added token.

    Args:
        added_ids: ids of the tokenizer's added tokens.

    Raises:
        UnusableModel: a file cannot be read.
    """
    config = json_object(folder / CONFIG)
    text_config = config.get("text_config")
    declared = _ids(config) | (_ids(text_config) if isinstance(text_config, dict) else frozenset())
    return _ids(json_object(folder / GENERATION_CONFIG)) | declared.intersection(added_ids)


def _ids(config: dict[str, Any]) -> frozenset[int]:
    ids = config.get("eos_token_id")
    listed = ids if isinstance(ids, list) else [ids]
    return frozenset(i for i in listed if isinstance(i, int) and not isinstance(i, bool))


def _number(config: dict[str, Any], name: str, path: Path) -> float | None:
    value = config.get(name)
    if value is None:
        return None
    is_usable, described = RANGES[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not is_usable(value):
        raise UnusableModel(f"{path}: {name} must be {described}, not {value!r}")
    return value


def json_object(path: Path) -> dict[str, Any]:
    """The contents of a JSON file; empty if there is none.

    Raises:
        UnusableModel: the file cannot be read, or is no JSON object.
    """
    if not path.exists():
        return {}
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnusableModel(f"{path} cannot be read: {error}") from error
    if not isinstance(contents, dict):
        raise UnusableModel(f"{path} cannot be read: it is not a JSON object")
    return contents
