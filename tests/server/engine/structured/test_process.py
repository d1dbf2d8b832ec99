"""Verdicts on schemas, without the process around the compiler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from anytime_server.engine.structured.process import refusal
from anytime_server.engine.structured.vocabulary import Vocabulary
from anytime_server.text.model import BUNDLED_MODEL


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(BUNDLED_MODEL, 512)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "string", "maxLength": 9_999},
        {"type": "string", "pattern": r"^(?:red|green|blue|cyan)+ [0-9a-f]{1,40}$"},
        {"type": "string", "pattern": r"^(\w{9}\d){7}$"},
        {"type": "object", "properties": {f"p{i}": True for i in range(300)}},
        {"anyOf": [{"type": "string", "maxLength": length} for length in range(2, 12)]},
    ],
)
def test_schema_that_compiles_is_accepted(vocabulary: Vocabulary, schema: dict[str, Any]) -> None:
    assert refusal(vocabulary, json.dumps(schema)) is None


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "string", "pattern": "("}, "cannot be enforced: regex parse error: "),
        ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "cannot be enforced: # has no instance"),
        # vLLM converts schemas on the server's event loop.
        (
            {"type": "array", "maxItems": 150_000, "items": {}},
            "takes too long to compile: it repeats too much",
        ),
    ],
)
def test_refusal_says_why(vocabulary: Vocabulary, schema: dict[str, Any], reason: str) -> None:
    assert (refusal(vocabulary, json.dumps(schema)) or "").startswith(f"the JSON schema {reason}")


def test_vocabulary_that_lacks_a_character_cannot_spell_json(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    ids = {chr(byte): byte - 0x20 for byte in range(0x21, 0x7F)} | {"\u0120": 0, "<end>": 95}
    for missing in (None, "{"):
        known = {text if text != missing else "{{": i for text, i in ids.items()}
        backend = Tokenizer(models.BPE(vocab=known, merges=[]))
        backend.decoder = decoders.ByteLevel()
        PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>").save_pretrained(tmp_path)
        assert Vocabulary(tmp_path, 96).can_spell_json is (missing is None)
