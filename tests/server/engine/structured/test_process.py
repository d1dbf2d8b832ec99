"""Verdicts on schemas, without the process around the compiler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from anytime_server.engine.structured import masks
from anytime_server.engine.structured.process import NEEDED_BYTES, Vocabulary, refusal
from anytime_server.text.model import BUNDLED_MODEL


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(BUNDLED_MODEL, 512)


def vocabulary_of(characters: str, folder: Path) -> Vocabulary:
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    ids = {character: i for i, character in enumerate(characters)}
    backend = Tokenizer(models.WordLevel(vocab=ids, unk_token=characters[0]))
    backend.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(folder)
    return Vocabulary(folder, len(characters))


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "string", "maxLength": 9_999},
        {"type": "string", "pattern": r"^(?:red|green|blue|cyan)+ [0-9a-f]{1,40}$"},
        {"type": "string", "pattern": r"^(\w{9}\d){7}$"},
        {"type": "object", "properties": {f"p{i}": True for i in range(300)}},
        {"type": "object", "properties": {f"p{i}": True for i in range(33)}, "maxProperties": 2},
        {"anyOf": [{"type": "string", "maxLength": length} for length in range(2, 12)]},
    ],
)
def test_schema_that_compiles_is_accepted(vocabulary: Vocabulary, schema: dict[str, Any]) -> None:
    assert refusal(vocabulary, json.dumps(schema)) is None


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "string", "pattern": "("}, "cannot be enforced: Regex parsing error at position 2: "),
        ({"type": "integer", "minimum": 5, "maximum": 2}, "cannot be enforced: Invalid range: "),
        ({"type": "array", "uniqueItems": True}, "cannot be enforced: # has 'uniqueItems'"),
        # vLLM converts schemas on the server's event loop.
        ({"type": "string", "pattern": "a{1,5000}"}, "takes too long to compile: it repeats too much"),
    ],
)
def test_refusal_says_why(vocabulary: Vocabulary, schema: dict[str, Any], reason: str) -> None:
    assert (refusal(vocabulary, json.dumps(schema)) or "").startswith(f"the JSON schema {reason}")


def test_schema_with_a_slow_mask_is_refused(vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = json.dumps({"type": "object", "properties": {"a": {"type": "string", "pattern": "^a{0,40}b$"}}})
    assert refusal(vocabulary, schema) is None
    monkeypatch.setattr(masks, "MASK_LIMIT_S", 0.0)
    assert refusal(vocabulary, schema) == "the JSON schema is too ambiguous: a token takes over 0 ms"


def test_text_that_the_vocabulary_cannot_spell_is_refused(tmp_path: Path) -> None:
    plain = vocabulary_of("".join(map(chr, range(0x20, 0x7F))), tmp_path)
    assert set(plain.tokens) >= NEEDED_BYTES
    assert refusal(plain, '{"const":"plain\\n"}') is None
    reason = "the JSON schema cannot be enforced: no token is allowed at some point"
    assert refusal(plain, '{"const":"\u00e9"}') == reason
