"""Usual schemas are accepted over a vocabulary of usual size; those with slow masks are not."""

from __future__ import annotations

import json
import random
import string
from typing import Any, Literal

import pytest
from anytime_server.engine.constraint import Constraint
from anytime_server.engine.structured import masks
from anytime_server.engine.structured.process import compiled
from anytime_server.engine.structured.vocabulary import Vocabulary
from pydantic import BaseModel, Field, create_model

NUM_TOKENS = 100_000


class Tokens:
    """As many tokens as a usual model's, of random text, the last of which ends a turn."""

    def __init__(self) -> None:
        rng, characters = random.Random(0), string.ascii_letters + string.digits + ' .,:"-_[]{}'
        self.tokens = [bytes([byte]) for byte in range(256)]
        self.tokens += [
            "".join(rng.choices(characters, k=rng.randint(2, 7))).encode() for _ in range(NUM_TOKENS)
        ]
        self.eos_token_id, self.bos_token_id = len(self.tokens), None
        self.tokens.append(b"<end>")
        self.special_token_ids = [self.eos_token_id]

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    from llguidance import LLTokenizer, TokenizerWrapper

    tokens = Tokens()
    one = Vocabulary.__new__(Vocabulary)
    one.tokenizer, one.eos_id = LLTokenizer(TokenizerWrapper(tokens)), tokens.eos_token_id
    return one


def refusal(vocabulary: Vocabulary, schema: dict[str, Any]) -> str | None:
    return compiled(vocabulary, Constraint("json_schema", json.dumps(schema))).get("refusal")


class Node(BaseModel):
    value: str = Field(max_length=80)
    children: list[Node] = []
    parent: Node | None = None


class Cell(BaseModel):
    kind: Literal["cell"]
    x: int = Field(ge=0, lt=1000)
    label: str | None = Field(max_length=40)


class Row(BaseModel):
    kind: Literal["row"]
    cells: list[Cell] = Field(min_length=1, max_length=10)


def schema_of(**fields: Any) -> dict[str, Any]:
    """Of a Pydantic model with these fields, each a type and a default."""
    definitions: Any = fields
    return create_model("Model", **definitions).model_json_schema()


PATTERNS = (r"^[A-Z]{2}-\d{4}$", r"^\d{5}(-\d{4})?$", r"^\+?[1-9]\d{1,14}$", r"^[^,]+$", r"^https?://.+$")
BOUNDED = {
    f"text{i}": (str, Field(max_length=length)) for i, length in enumerate((50, 100, 150, 200, 300, 400, 500))
}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"enum": [f"value {i}" for i in range(300)]},
        schema_of(**BOUNDED),
        schema_of(**{f"p{i}": (str, Field(pattern=PATTERNS[i % 5])) for i in range(20)}),
        Node.model_json_schema(),
        schema_of(rows=(list[Row | Cell], ...), names=(dict[str, int], {})),
        {"type": "object", "properties": {f"p{i}": {"type": ["string", "number"]} for i in range(40)}},
        {
            "type": "object",
            "properties": {one: {"type": "string", "format": one} for one in ("email", "uuid", "date-time")},
            "required": ["email", "uuid", "date-time"],
        },
    ],
    ids=["any", "enum", "bounded strings", "patterns", "recursion", "unions", "optional", "formats"],
)
def test_usual_schema_is_accepted(vocabulary: Vocabulary, schema: dict[str, Any]) -> None:
    assert refusal(vocabulary, schema) is None


def test_schema_with_too_many_readings_is_refused(vocabulary: Vocabulary) -> None:
    lengths = {"anyOf": [{"type": "string", "maxLength": length} for length in range(2, 1000)]}
    assert (refusal(vocabulary, lengths) or "").startswith("the JSON schema is too ambiguous: ")


@pytest.mark.parametrize("limit", ["MASK_LIMIT_S", "MEAN_LIMIT_S"])
def test_schema_with_a_slow_mask_is_refused(
    vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(masks, limit, 0.0)
    assert (refusal(vocabulary, {"type": "array"}) or "").startswith(
        "the JSON schema is too ambiguous: a token takes more than "
    )
