"""Schemas whose masks would take long over a vocabulary of usual size are refused, wherever the cause is."""

from __future__ import annotations

import json
import random
import string
from types import SimpleNamespace
from typing import Any, cast

import pytest
from anytime_server.engine.structured.masks import with_parts
from anytime_server.engine.structured.process import Vocabulary, refusal

STRING, EITHER = {"type": "string"}, {"type": ["string", "number"]}
FIRST = {f"p{i}": {"type": "integer"} for i in range(12)}
"""Properties that random digits hardly come to the end of."""


def array(items: Any, **bounds: int) -> dict[str, Any]:
    return {"type": "array", "items": items, **bounds}


def after_others(schema: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {**FIRST, "z": schema}, "required": [*FIRST, "z"], **fields}


MANY_ARRAYS = {"anyOf": [array(STRING), array(EITHER)] * 125}


def union(*names: str) -> dict[str, Any]:
    return {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in names]}


def branches(num: int) -> dict[str, Any]:
    """Definitions of a tree of references with four branches each; `c` is its root."""
    leaves = {f"a{i}": array(EITHER, minItems=i % 4, maxItems=50 + i) for i in range(num)}
    nodes = {
        f"b{i}": {"anyOf": [{"$ref": f"#/$defs/a{4 * i + j}"} for j in range(4)]} for i in range(num // 4)
    }
    return {**leaves, **nodes, "c": {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in nodes]}}


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    """As many tokens as a usual model's, of random text."""
    from xgrammar import TokenizerInfo, VocabType

    rng, characters = random.Random(0), string.ascii_letters + string.digits + ' .,:"-_[]{}'
    tokens = [bytes([byte]) for byte in range(0x20, 0x7F)]
    tokens += ["".join(rng.choices(characters, k=rng.randint(2, 7))).encode() for _ in range(100_000)]
    info = TokenizerInfo(tokens, VocabType.RAW, vocab_size=len(tokens) + 1, stop_token_ids=[len(tokens)])
    return cast("Vocabulary", SimpleNamespace(info=info, tokens=tokens))


@pytest.mark.parametrize(
    "schema",
    [MANY_ARRAYS, after_others(MANY_ARRAYS), after_others({"$ref": "#/$defs/c"}, **{"$defs": branches(64)})],
    ids=["at the root", "after others", "in a tree of references"],
)
def test_schema_with_a_slow_mask_is_refused(vocabulary: Vocabulary, schema: dict[str, Any]) -> None:
    assert refusal(vocabulary, json.dumps(schema)) == (
        "the JSON schema is too ambiguous: a token takes over 5 ms"
    )


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"enum": [f"value {i}" for i in range(300)]},
        array({"anyOf": [after_others({"const": i}) for i in range(20)]}),
        {"type": "object", "properties": {f"p{i}": EITHER for i in range(40)}, "additionalProperties": False},
        after_others({"type": "string", "format": "email"}),
    ],
    ids=["any", "enum", "union", "optional", "format"],
)
def test_usual_schema_is_accepted(vocabulary: Vocabulary, schema: dict[str, Any]) -> None:
    assert refusal(vocabulary, json.dumps(schema)) is None


def test_parts_are_those_with_many_readings() -> None:
    assert len(list(with_parts(json.dumps(after_others(MANY_ARRAYS))))) == 2
    assert len(list(with_parts(json.dumps(after_others(EITHER))))) == 1
    recursive = {"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, STRING]}}, "$ref": "#/$defs/a"}
    assert len(list(with_parts(json.dumps(recursive)))) == 1
