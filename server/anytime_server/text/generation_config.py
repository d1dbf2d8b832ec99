"""Sampling defaults and end-of-turn ids from a checkpoint's `generation_config.json` and `config.json`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from anytime_server.errors import UnusableModel
from anytime_server.printable import beginning
from anytime_server.reasoning import FALLBACK, NEUTRAL, SamplingDefaults, SamplingOptions
from anytime_server.text.json_file import json_object

logger = logging.getLogger(__name__)

GENERATION_CONFIG, CONFIG = "generation_config.json", "config.json"
NOTHING = SamplingDefaults(thinking=SamplingOptions(), answer=SamplingOptions())
RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "temperature": (lambda value: value >= 0, "at least 0"),
    "top_p": (lambda value: 0 < value <= 1, "over 0 and at most 1"),
    "top_k": (
        lambda value: -1 <= value < 1 << 31 and value == int(value),
        "a whole number, from 1 to 2147483647; 0 or -1 for all",
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


def end_of_turn_ids(folder: Path, *, added_ids: Collection[int], num_ids: int) -> frozenset[int]:
    """Token ids that end a turn by `generation_config.json` and `config.json`.

    A fine-tuned model's `config.json` can still have the id of another vocabulary, so that an id counts there
    only if the tokenizer has it as an added token. Values that are no ids of the model are ignored with a
    warning.

    Args:
        added_ids: ids of the tokenizer's added tokens.
        num_ids: size of the tokenizer's vocabulary; the model's, which `config.json` gives, may be larger.

    Raises:
        UnusableModel: a file cannot be read.
    """
    configs = [json_object(folder / CONFIG)]
    if isinstance(text_config := configs[0].get("text_config"), dict):
        configs.append(text_config)
    sizes = [size for config in configs if isinstance(size := config.get("vocab_size"), int)]
    num_ids = max(num_ids, *sizes, 0)
    declared = _ids(folder / CONFIG, configs, num_ids)
    path = folder / GENERATION_CONFIG
    return _ids(path, [json_object(path)], num_ids) | declared.intersection(added_ids)


def _ids(path: Path, configs: Iterable[dict[str, Any]], num_ids: int) -> frozenset[int]:
    """The end-of-turn ids of a file's objects."""
    usable, unusable = set[int](), list[Any]()
    for config in configs:
        ids = config.get("eos_token_id")
        for value in ids if isinstance(ids, list) else [] if ids is None else [ids]:
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < num_ids:
                usable.add(value)
            else:
                unusable.append(value)
    if unusable:
        logger.warning(
            "%s: eos_token_id: not a token id of the model, and ignored: %s",
            path,
            beginning(", ".join(map(repr, unusable))),
        )
    return frozenset(usable)


def _number(config: dict[str, Any], name: str, path: Path) -> float | None:
    value = config.get(name)
    if value is None:
        return None
    is_usable, described = RANGES[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_number = is_number and abs(value) <= sys.float_info.max  # which is false for NaN
    if not is_number or not is_usable(value):
        raise UnusableModel(f"{path}: {name} must be {described}, not {beginning(repr(value))}")
    return value
