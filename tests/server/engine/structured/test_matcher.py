"""Matchers over a vocabulary: whatever they allow is an instance of the schema."""

from __future__ import annotations

import json
import random
from collections.abc import Generator
from typing import Any

import jsonschema
import numpy as np
import pytest
from anytime_server.engine.constraint import Constraint
from anytime_server.engine.structured.matcher import Matchers
from anytime_server.engine.structured.relax import relax
from anytime_server.text.model import BUNDLED_MODEL, Model


@pytest.fixture(scope="module")
def matchers() -> Generator[Matchers, None, None]:
    matchers = Matchers(BUNDLED_MODEL, 512)
    yield matchers
    matchers.close()


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "minLength": 2, "maxLength": 5},
        {"type": "string", "pattern": r"^[^x]\d{2}(?:a|b)+.$"},
        {
            "type": "object",
            "properties": {"é\n": {"const": [{"a": 1.5}]}, "b": {"type": "boolean"}},
            "required": ["b"],
        },
        {"type": "array", "prefixItems": [{"type": "null"}], "items": {"enum": ["a", 2]}, "maxItems": 4},
        {"type": "object", "additionalProperties": {"type": "integer", "minimum": -3}, "maxProperties": 2},
        {"type": "string", "pattern": "b", "maxLength": 12},
        {"oneOf": [{"type": "integer", "multipleOf": 7, "maximum": 70}, {"const": "no"}]},
        {"type": ["string", "null"], "minLength": 3},
        {"anyOf": [{"type": "array", "items": {"$ref": "#"}, "maxItems": 1}, {"type": "null"}]},
    ],
)
async def test_allowed_tokens_spell_an_instance(matchers: Matchers, schema: dict[str, Any]) -> None:
    model, rng = Model.load(BUNDLED_MODEL), random.Random(0)
    [stop_id] = model.reasoning.eos_ids
    special_ids = {model.reasoning.think_start_id, model.reasoning.think_end_id}
    relaxed = relax(schema)
    assert relaxed.is_exact
    constraint = Constraint("json_schema", json.dumps(relaxed.closed))
    for _ in range(20):
        matcher, ids = await matchers.matcher(constraint, {stop_id}), [-1]
        while ids[-1] != stop_id:
            allowed = np.flatnonzero(matcher.allowed()).tolist()
            assert not special_ids & set(allowed)
            ids.append(stop_id if stop_id in allowed and rng.random() < 0.2 else rng.choice(allowed))
            assert matcher.accept(ids[-1])
        jsonschema.validate(json.loads(model.tokenizer.decode(ids[1:-1])), schema)


async def test_token_that_is_not_allowed_is_not_accepted(matchers: Matchers) -> None:
    matcher = await matchers.matcher(Constraint("json_schema", '{"enum":[7]}'), {4})
    [seven, eight] = Model.load(BUNDLED_MODEL).tokenizer.encode("78")
    assert not matcher.accept(eight)
    assert matcher.accept(seven)
