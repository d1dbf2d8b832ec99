"""Answers that must have a form: every field that says so, beside tools, and where it cannot be enforced."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anytime_server.api.native.schema import AnytimeRequest
from anytime_server.engine import scripted
from anytime_server.engine.constraint import Constraint
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.text.model import Model
from anytime_server.types import RequestContext

MESSAGES = [{"role": "user", "content": "7-3"}]
BODY: dict[str, Any] = {"messages": MESSAGES, "thinking_budget": 5}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TEXT = json.dumps(SCHEMA)
GBNF = 'root ::= "yes" | "no"'
UNIQUE = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
TOOL = {"type": "function", "function": {"name": "add", "parameters": SCHEMA}}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'


def json_schema(schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}}


@pytest.fixture
def constraints(monkeypatch: pytest.MonkeyPatch) -> list[Constraint]:
    """The constraints of all answers; the list grows."""
    seen: list[Constraint] = []
    generate = ScriptedEngine.generate

    def noting(engine: ScriptedEngine, request: Any) -> Any:
        seen.extend([request.sampling.constraint] if request.sampling.constraint else [])
        return generate(engine, request)

    monkeypatch.setattr(ScriptedEngine, "generate", noting)
    return seen


FORMS: list[tuple[dict[str, Any], Constraint]] = [
    (json_schema(SCHEMA), Constraint("json_schema", TEXT)),
    ({"response_format": {"type": "json_schema", "json_schema": SCHEMA}}, Constraint("json_schema", TEXT)),
    ({"response_format": {"type": "json_schema", "schema": SCHEMA}}, Constraint("json_schema", TEXT)),
    ({"response_format": {"type": "json_object", "schema": SCHEMA}}, Constraint("json_schema", TEXT)),
    ({"response_format": {"type": "json_object"}}, Constraint("json_schema", '{"type": "object"}')),
    ({"structured_outputs": {"json": SCHEMA}}, Constraint("json_schema", TEXT)),
    ({"structured_outputs": {"json": TEXT}}, Constraint("json_schema", TEXT)),
    ({"structured_outputs": {"json_object": True}}, Constraint("json_schema", '{"type": "object"}')),
    ({"structured_outputs": {"regex": "[0-9]+"}}, Constraint("regex", "[0-9]+")),
    ({"structured_outputs": {"choice": ["yes", "no"]}}, Constraint("choice", '["yes", "no"]')),
    ({"structured_outputs": {"grammar": GBNF}}, Constraint("grammar", GBNF)),
    ({"guided_json": SCHEMA}, Constraint("json_schema", TEXT)),
    ({"guided_regex": "[0-9]+", "guided_decoding_backend": "xgrammar"}, Constraint("regex", "[0-9]+")),
    ({"guided_choice": ["yes", "no"]}, Constraint("choice", '["yes", "no"]')),
    ({"guided_grammar": GBNF}, Constraint("grammar", GBNF)),
    ({"json_schema": SCHEMA}, Constraint("json_schema", TEXT)),
    ({"grammar": GBNF}, Constraint("grammar", GBNF)),
    ({"regex": "[0-9]+"}, Constraint("regex", "[0-9]+")),
    ({"ebnf": GBNF}, Constraint("grammar", GBNF)),
    ({"response_format": {"type": "text"}, "guided_json": SCHEMA}, Constraint("json_schema", TEXT)),
    (json_schema(SCHEMA) | {"guided_json": SCHEMA}, Constraint("json_schema", TEXT)),
]


async def test_answer_is_held_to_its_form_in_every_spelling(
    served: Any, constraints: list[Constraint]
) -> None:
    server = await served()
    for fields, constraint in FORMS:
        constraints.clear()
        reply = await server.http.post("/v1/chat/completions", json=BODY | fields)
        assert reply.status_code == 200, (fields, reply.text)
        assert constraints == [constraint], fields
        assert reply.json()["anytime"]["ignored"] == [], fields


NO_FORMS: list[dict[str, Any]] = [
    {"grammar": ""},
    {"response_format": None, "structured_outputs": None, "guided_json": None},
    {"structured_outputs": {}},
    {"structured_outputs": {"json_object": False}},
]


async def test_form_that_asks_for_nothing_constrains_nothing(
    served: Any, constraints: list[Constraint]
) -> None:
    server = await served()
    for fields in NO_FORMS:
        assert (await server.http.post("/v1/chat/completions", json=BODY | fields)).status_code == 200, fields
    assert constraints == []


async def test_second_form_is_reported(served: Any, constraints: list[Constraint]) -> None:
    server = await served()
    fields = {"guided_regex": "[0-9]+", "structured_outputs": {"choice": ["a"]}, "grammar": GBNF}
    reply = (await server.http.post("/v1/chat/completions", json=BODY | fields)).json()
    assert constraints == [Constraint("choice", '["a"]')]
    assert reply["choices"][0]["message"]["content"] == "a"
    assert sorted(reply["anytime"]["ignored"]) == ["grammar", "guided_regex"]


@pytest.mark.parametrize(
    ("form", "field"),
    [
        (json_schema(SCHEMA), "answer.response_format.json_schema.schema"),
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, "answer.response_format.schema"),
        ({"response_format": {"type": "json_schema", "schema": SCHEMA}}, "answer.response_format.schema"),
    ],
)
def test_native_schema_is_named_as_it_is_written(form: dict[str, Any], field: str) -> None:
    request = AnytimeRequest.model_validate({"messages": MESSAGES, "answer": form})
    assert request.to_generate_request(RequestContext()).name_of("answer.schema") == field


BAD_FORMS: list[tuple[str, dict[str, Any]]] = [
    ("structured_outputs.json", {"structured_outputs": {"json": "{"}}),
    ("structured_outputs.json", {"structured_outputs": {"json": "[]"}}),
    ("guided_choice", {"guided_choice": []}),
    ("guided_choice.0", {"guided_choice": [1]}),
    ("regex", {"regex": ""}),
    ("response_format.json_schema", {"response_format": {"type": "json_schema"}}),
    ("response_format", json_schema({"properties": {"a": 3}})),
    ("grammar", {"grammar": "start: <[*]>"}),
    ("guided_choice", {"guided_choice": ["", "\n"]}),
    ("guided_regex", {"guided_regex": "a\0"}),
    ("grammar", {"grammar": "a\0"}),
]


async def test_malformed_form_is_refused(served: Any) -> None:
    server = await served()
    for param, fields in BAD_FORMS:
        reply = await server.http.post("/v1/chat/completions", json=BODY | fields)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param), fields


async def test_choices_are_not_blank(served: Any, constraints: list[Constraint]) -> None:
    server = await served(answer="yes")
    await server.http.post("/v1/chat/completions", json=BODY | {"guided_choice": ["", "yes"]})
    assert constraints == [Constraint("choice", '["yes"]')]


async def test_expression_may_match_nothing_only(served: Any, answers: list[str]) -> None:
    server = await served()
    answers.append("")
    reply = await server.http.post("/v1/chat/completions", json=BODY | {"guided_regex": "a*"})
    assert (reply.status_code, reply.json()["choices"][0]["message"]["content"]) == (200, "")


async def test_words_cannot_be_kept_out_of_a_form(served: Any, tool_model: Model) -> None:
    server = await served(model=tool_model, answer="yes")
    call = {"tools": [TOOL], "tool_choice": "required", "stop": ["x"], "guided_choice": ["yes"]}
    for fields, ignored in [
        ({"guided_choice": ["yes", "no"]}, ["bad_words"]),
        (call, ["bad_words", "guided_choice", "stop"]),
    ]:
        reply = await server.http.post("/v1/chat/completions", json=BODY | fields | {"bad_words": ["yes"]})
        assert reply.json()["anytime"]["ignored"] == ignored


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts of the next constrained answers; the last goes on."""
    texts: list[str] = []

    def next_answer(constraint: Constraint | None, answer: str) -> str:
        return answer if constraint is None else texts.pop(0) if len(texts) > 1 else texts[0]

    monkeypatch.setattr(scripted, "_held_to", next_answer)
    return texts


async def test_answer_that_does_not_match_is_sampled_again(served: Any, answers: list[str]) -> None:
    """The client sees the attempt that matches, and pays for all."""
    server = await served()
    for stream in (False, True):
        answers[:] = ["[1,1]", "[2,2,2]", "[1,2]"]
        reply = await server.http.post(
            "/v1/chat/completions", json=BODY | json_schema(UNIQUE) | {"stream": stream}
        )
        if stream:
            lines = reply.text.splitlines()
            chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
            text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
            last = chunks[-1]
        else:
            last = reply.json()
            text = last["choices"][0]["message"]["content"]
        assert text == "[1,2]"
        assert last["choices"][0]["finish_reason"] == "stop"
        assert last["anytime"]["ignored"] == []
        assert last["anytime"]["usage"]["answer_tokens"] == sum(
            len(one) + 1 for one in ("[1,1]", "[2,2,2]", "[1,2]")
        )
        assert last["anytime"]["usage"]["thinking_tokens"] == 5


async def test_attempts_have_other_tokens(
    served: Any, answers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A greedy answer is not sampled greedily again, and a seed gives other random numbers."""
    sampled: list[Any] = []
    generate = ScriptedEngine.generate
    monkeypatch.setattr(
        ScriptedEngine, "generate", lambda self, one: (sampled.append(one.sampling), generate(self, one))[1]
    )
    server = await served()
    answers[:] = ["[1,1]", "[1,1,1]", "[1,2]"]
    await server.http.post(
        "/v1/chat/completions",
        json=BODY | json_schema(UNIQUE) | {"thinking_budget": 0, "temperature": 0, "seed": 3},
    )
    assert [one.temperature for one in sampled] == [0, 0.7, 0.7]
    assert len({one.seed for one in sampled}) == 3


async def test_answer_that_never_matches_is_reported_and_not_whole(served: Any, answers: list[str]) -> None:
    server = await served()
    answers[:] = ["[1,1]"]
    field = "response_format.json_schema.schema.uniqueItems"
    reply = (await server.http.post("/v1/chat/completions", json=BODY | json_schema(UNIQUE))).json()
    assert reply["choices"][0]["message"]["content"] == "[1,1]"
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["anytime"]["ignored"] == [field]
    assert reply["anytime"]["usage"]["answer_tokens"] == 4 * len("[1,1].")
    form = {"type": "json_schema", "name": "n", "schema": UNIQUE}
    body = {"input": "7-3", "thinking_budget": 0, "text": {"format": form}}
    reply = (await server.http.post("/v1/responses", json=body)).json()
    assert reply["anytime"]["ignored"] == ["text.format.schema.uniqueItems"]
    assert (reply["status"], reply["incomplete_details"]["reason"]) == ("incomplete", "max_output_tokens")
    form = {"type": "json_schema", "schema": UNIQUE}
    body = {"messages": MESSAGES, "max_tokens": 300, "output_config": {"format": form}}
    reply = (await server.http.post("/v1/messages", json=body)).json()
    assert reply["stop_reason"] == "max_tokens"
    assert reply["anytime"]["ignored"] == ["output_config.format.schema.uniqueItems"]
    native = await server.think(budget=0, answer=json_schema(UNIQUE))
    assert native["answers"][0]["finish_reason"] == "length"
    counted = 'anytime_ignored_fields_total{field="unknown"} 4.0'
    assert counted in (await server.http.get("/metrics")).text, "without names of the client's own"


async def test_attempts_keep_to_the_most_tokens(served: Any, answers: list[str]) -> None:
    """An attempt that might have no room is not begun."""
    server = await served()
    answers[:] = ["[1,1]"]
    fields = {"thinking_budget": 0, "max_tokens": 14}
    reply = (await server.http.post("/v1/chat/completions", json=BODY | json_schema(UNIQUE) | fields)).json()
    assert reply["usage"]["completion_tokens"] == 12
    assert reply["choices"][0]["finish_reason"] == "length"


async def test_answer_beyond_the_deadline_is_not_sampled_again(served: Any, answers: list[str]) -> None:
    server = await served(seconds_per_token=0.01)
    answers[:] = ["[1,1]"]
    reply = await server.think(budget={"tokens": 0, "deadline_ms": 1}, answer=json_schema(UNIQUE))
    assert reply["usage"]["answer_tokens"] == 6


async def test_overlapping_schemas_of_one_of_give_no_wrong_answer(served: Any, answers: list[str]) -> None:
    schema = {"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 2}]}
    server = await served()
    answers[:] = ["3", "1"]
    reply = (await server.http.post("/v1/chat/completions", json=BODY | json_schema(schema))).json()
    assert (reply["choices"][0]["message"]["content"], reply["choices"][0]["finish_reason"]) == ("1", "stop")


async def test_arguments_of_a_required_call_are_checked(
    served: Any, tool_model: Model, answers: list[str]
) -> None:
    parameters = {"type": "object", "properties": {"a": UNIQUE}, "required": ["a"]}
    tool = {"type": "function", "function": {"name": "add", "parameters": parameters}}
    fields = BODY | {"tools": [tool], "tool_choice": "required"}
    server = await served(window_tokens=2048, model=tool_model)
    calls = [json.dumps([{"name": "add", "arguments": {"a": numbers}}]) for numbers in ([1, 1], [1, 2])]
    answers[:] = calls
    reply = (await server.http.post("/v1/chat/completions", json=fields)).json()
    [call] = reply["choices"][0]["message"]["tool_calls"]
    assert (json.loads(call["function"]["arguments"]), reply["anytime"]["ignored"]) == ({"a": [1, 2]}, [])
    answers[:] = calls[:1]
    reply = (await server.http.post("/v1/chat/completions", json=fields)).json()
    assert reply["anytime"]["ignored"] == ["tools.add.function.parameters.properties.a.uniqueItems"]
    assert reply["choices"][0]["finish_reason"] == "length"


STRICTLY_REFUSED = [
    ("response_format.json_schema.schema.uniqueItems", json_schema(UNIQUE)),
    ("response_format.json_schema.schema.format", json_schema({"type": "string", "format": "cuid"})),
    ("guided_json.not", {"guided_json": {"not": {}}}),
    ("guided_regex", {"guided_regex": "a", "guided_choice": ["a"]}),
]


async def test_strict_server_refuses_what_it_cannot_enforce(served: Any) -> None:
    server = await served(app={"is_strict": True})
    for param, fields in STRICTLY_REFUSED[:3]:
        reply = await server.http.post("/v1/chat/completions", json=BODY | fields)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    reply = await server.http.post("/v1/chat/completions", json=BODY | json_schema(SCHEMA))
    assert reply.status_code == 200


async def test_format_that_nobody_knows_is_reported(served: Any) -> None:
    server = await served()
    schema = {"type": "object", "properties": {"id": {"type": "string", "format": "cuid"}}}
    reply = (await server.http.post("/v1/chat/completions", json=BODY | json_schema(schema))).json()
    assert reply["anytime"]["ignored"] == ["response_format.json_schema.schema.properties.id.format"]
    assert reply["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("answer", "content", "calls"),
    [('{"a": 4}', '{"a": 4}', []), (CALL, None, ["add"]), (f"\n{CALL}{CALL}", None, ["add", "add"])],
)
async def test_answer_beside_tools_is_json_or_calls(
    served: Any,
    tool_model: Model,
    constraints: list[Constraint],
    answer: str,
    content: str | None,
    calls: list[str],
) -> None:
    server = await served(model=tool_model, answer=answer)
    fields = BODY | {"tools": [TOOL]} | json_schema(SCHEMA)
    reply = (await server.http.post("/v1/chat/completions", json=fields)).json()
    [choice] = reply["choices"]
    assert choice["message"]["content"] == content
    assert [call["function"]["name"] for call in choice["message"].get("tool_calls", [])] == calls
    assert choice["finish_reason"] == ("tool_calls" if calls else "stop")
    assert reply["anytime"]["ignored"] == []
    [constraint] = constraints
    assert constraint.kind == "grammar"
    assert f"answer: %json {TEXT}" in constraint.text
    assert 'begin: "<tool_call>" | <[' in constraint.text


async def test_answer_beside_tools_is_checked_and_a_call_is_not(
    served: Any, tool_model: Model, answers: list[str]
) -> None:
    server = await served(model=tool_model)
    fields = BODY | {"tools": [TOOL]} | json_schema(UNIQUE)
    answers[:] = ["[1,1]", "[1,2]"]
    reply = (await server.http.post("/v1/chat/completions", json=fields)).json()
    assert (reply["choices"][0]["message"]["content"], reply["choices"][0]["finish_reason"]) == (
        "[1,2]",
        "stop",
    )
    answers[:] = [CALL]
    reply = (await server.http.post("/v1/chat/completions", json=fields)).json()
    assert (reply["choices"][0]["finish_reason"], reply["anytime"]["ignored"]) == ("tool_calls", [])


@pytest.mark.parametrize(
    ("answer", "content", "calls"),
    [
        ('{"a": 4}', '{"a": 4}', []),
        ('{"tool_calls": [{"name": "add", "arguments": {"a": 2}}]}', None, [("add", '{"a": 2}')]),
    ],
)
async def test_answer_in_channels_beside_tools_is_json_or_calls_as_json(
    served: Any, harmony_model: Model, answer: str, content: str | None, calls: list[Any]
) -> None:
    server = await served(window_tokens=2048, model=harmony_model, answer=answer)
    fields = BODY | {"tools": [TOOL]} | json_schema(SCHEMA)
    [choice] = (await server.http.post("/v1/chat/completions", json=fields)).json()["choices"]
    found = [call["function"] for call in choice["message"].get("tool_calls", [])]
    assert (choice["message"]["content"], [tuple(one.values()) for one in found]) == (content, calls)


async def test_tools_beside_a_grammar_are_reported(served: Any, tool_model: Model) -> None:
    server = await served(model=tool_model)
    reply = await server.http.post("/v1/chat/completions", json=BODY | {"tools": [TOOL], "grammar": GBNF})
    assert reply.json()["anytime"]["ignored"] == ["tools"]
