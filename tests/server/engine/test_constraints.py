"""Answers of real engines keep to their constraints: JSON schemas, regular expressions, choices, grammars."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import jsonschema
import pytest
from anytime_server.engine import Engine
from anytime_server.engine.constraint import Constraint
from anytime_server.errors import InvalidRequest
from anytime_server.text.model import Model

from .conftest import run, tokens

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 9},
        "kind": {"enum": ["one", "two", 3]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
        "more": {"anyOf": [{"$ref": "#/$defs/pair"}, {"type": "null"}]},
    },
    "required": ["name", "kind", "tags", "more"],
    "$defs": {
        "pair": {
            "type": "array",
            "prefixItems": [
                {"type": "integer", "minimum": 0, "maximum": 99},
                {"type": "string", "format": "date"},
            ],
            "minItems": 2,
            "maxItems": 2,
        }
    },
}


@pytest.fixture(params=["transformers_engine", "vllm_engine"])
def real_engine(request: pytest.FixtureRequest) -> Engine:
    return request.getfixturevalue(request.param)


async def enforced(engine: Engine, schema: dict[str, Any]) -> Constraint:
    return (await engine.enforced(Constraint("json_schema", json.dumps(schema)))).constraint


async def test_answers_are_constrained_to_a_json_schema(
    real_engine: Engine, request_of: Any, tiny_model: Model
) -> None:
    """Beside unconstrained requests; at temperature 1, a random model samples everything that is allowed."""
    constraint = await enforced(real_engine, SCHEMA)
    reasoning = tiny_model.reasoning
    sampling = {"max_tokens": 300, "stop_ids": reasoning.eos_ids, "min_tokens": 1}
    banned_ids = frozenset({reasoning.think_end_id, *tiny_model.tokenizer.encode("a")})
    requests = [
        request_of(**sampling, seed=seed, constraint=constraint, banned_ids=banned_ids, top_logprobs=3)
        for seed in range(12)
    ]
    free = request_of(max_tokens=60, seed=5)
    alone = tokens(await run(real_engine, free))
    *constrained, beside = await asyncio.gather(
        *(run(real_engine, request) for request in (*requests, request_of(max_tokens=60, seed=5)))
    )
    assert tokens(beside)[:20] == alone[:20]
    spellings: set[str] = set()
    for deltas in constrained:
        *text_ids, last_id = tokens(deltas)
        assert last_id in reasoning.eos_ids
        assert deltas[-1].finish_reason == "stop"
        text = tiny_model.tokenizer.decode(text_ids)
        assert len(tiny_model.tokenizer.encode(text)) == len(text_ids), "no special token is in it"
        jsonschema.validate(json.loads(text), SCHEMA)
        tops = [top for delta in deltas for top in delta.top_logprobs]
        assert {len(top) for top in tops} == {3}
        assert tops[0][0] == (tiny_model.tokenizer.encode("{")[0], 0.0), "no other token may come first"
        assert tops[0][1][1] == tops[0][2][1] == -9999.0
        spellings.add(text)
    assert len(spellings) == len(constrained)


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        (Constraint("regex", "[0-9]{3}-[ab]"), r"[0-9]{3}-[ab]"),
        (Constraint("choice", '["yes","no, \\"never\\""]'), r'yes|no, "never"'),
        (Constraint("grammar", 'root ::= "x" [0-9] "!"'), "x[0-9]!"),
    ],
    ids=["regex", "choice", "grammar"],
)
async def test_answers_are_constrained_otherwise(
    real_engine: Engine, request_of: Any, tiny_model: Model, constraint: Constraint, expected: str
) -> None:
    held_to, eos_ids = (await real_engine.enforced(constraint)).constraint, tiny_model.reasoning.eos_ids
    for seed in range(4):
        deltas = await run(
            real_engine, request_of(max_tokens=40, seed=seed, stop_ids=eos_ids, constraint=held_to)
        )
        assert deltas[-1].finish_reason == "stop"
        assert re.fullmatch(expected, tiny_model.tokenizer.decode(tokens(deltas)[:-1]))


async def test_json_of_one_token_can_end(real_engine: Engine, request_of: Any, tiny_model: Model) -> None:
    """The schema overrides `min_tokens` and the bans."""
    eos_ids = tiny_model.reasoning.eos_ids
    constraint = await enforced(real_engine, {"enum": [7]})
    [seven] = tiny_model.tokenizer.encode("7")
    deltas = await run(
        real_engine,
        request_of(
            max_tokens=9,
            min_tokens=5,
            stop_ids=eos_ids | {65},
            banned_ids=eos_ids | {seven},
            constraint=constraint,
        ),
    )
    assert tokens(deltas)[0] == seven
    assert tokens(deltas)[1:] == [*eos_ids] or tokens(deltas)[1:] == [65]
    assert deltas[-1].finish_reason == "stop"


async def test_json_may_end_at_max_tokens(real_engine: Engine, request_of: Any) -> None:
    constraint = await enforced(real_engine, SCHEMA)
    deltas = await run(real_engine, request_of(max_tokens=9, constraint=constraint))
    assert len(tokens(deltas)) == 9
    assert deltas[-1].finish_reason == "length"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": False}, "required": ["a"]},
        {"type": "string", "pattern": "("},
        {"type": "integer", "minimum": 5, "maximum": 2},
        {"type": "string", "pattern": "(" * 20_000 + "a" + ")" * 20_000},
    ],
)
async def test_unenforceable_json_schemas_are_refused(real_engine: Engine, schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="the JSON schema cannot be enforced: "):
        await enforced(real_engine, schema)
    assert real_engine.alive
