"""Calls and answers that tokens of a model are really held to: random weights sample all that is allowed."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from anytime_server.engine import Engine
from anytime_server.engine.transformers import TransformersEngine, TransformersOptions
from anytime_server.text.model import Model

from .conftest import TOOL_TEMPLATE

MESSAGES = [{"role": "user", "content": "7-3"}]
COLOR = {
    "type": "object",
    "properties": {"color": {"enum": ["red", "blue"]}, "n": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["color", "n"],
}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "paint", "parameters": COLOR}},
    {"type": "function", "function": {"name": "stop"}},
]
PARAMETERS: dict[str, Any] = {"paint": COLOR, "stop": {"type": "object", "maxProperties": 0}}
UNIQUE = {"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2, "uniqueItems": True}
SEEDS = range(4)


@pytest.fixture(scope="module")
def calling_model(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The tiny checkpoint with a template that takes tools; its tokens are those of the model."""
    from transformers import AutoTokenizer

    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path_factory.mktemp("calling") / "tiny"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TOOL_TEMPLATE
    tokenizer.save_pretrained(folder)
    return Model.load(folder)


def engine_of(kind: str, folder: Path, device: Any) -> Engine:
    if kind == "transformers":
        options = TransformersOptions(device=device, dtype="float32")
        return TransformersEngine(folder, options=options)
    from anytime_server.engine.vllm import VllmEngine

    return VllmEngine(folder)


async def ask(server: Any, path: str, **body: Any) -> list[dict[str, Any]]:
    replies = await asyncio.gather(
        *(server.http.post(path, json={"temperature": 1.0, "seed": seed, **body}) for seed in SEEDS)
    )
    assert {reply.status_code for reply in replies} == {200}, replies[0].text
    return [reply.json() for reply in replies]


@pytest.mark.parametrize("kind", ["transformers", pytest.param("vllm", marks=pytest.mark.nightly)])
async def test_sampled_calls_match_their_schemas(
    served: Any, calling_model: Model, tiny_checkpoint: Path, pytestconfig: pytest.Config, kind: str
) -> None:
    engine = engine_of(kind, tiny_checkpoint, pytestconfig.getoption("--device"))
    server = await served(model=calling_model, engine=engine)
    await check_calls(server)
    await check_other_constraints(server)
    await check_attempts(server)
    await check_answers_beside_tools(server)


async def check_calls(server: Any) -> None:
    tools = {"messages": MESSAGES, "tools": TOOLS, "thinking_budget": 7}
    names: set[str] = set()
    for choice in ("required", {"type": "function", "function": {"name": "paint"}}):
        for reply in await ask(server, "/v1/chat/completions", **tools, tool_choice=choice, max_tokens=140):
            [one] = reply["choices"]
            if one["finish_reason"] == "length":  # of up to eight calls
                assert "tool_calls" not in one["message"]
                continue
            assert one["message"]["content"] is None
            for call in one["message"]["tool_calls"]:
                names.add(call["function"]["name"])
                arguments = json.loads(call["function"]["arguments"])
                jsonschema.validate(arguments, PARAMETERS[call["function"]["name"]])
            assert reply["anytime"]["stop"]["thinking_tokens"] <= 7
    assert names == {"paint", "stop"}
    flat = [{"type": "function", **tool["function"]} for tool in TOOLS]
    fields = {"input": "7-3", "tools": flat, "thinking_budget": 7, "parallel_tool_calls": False}
    for reply in await ask(server, "/v1/responses", **fields, tool_choice="required"):
        [call] = [item for item in reply["output"] if item["type"] != "reasoning"]
        jsonschema.validate(json.loads(call["arguments"]), PARAMETERS[call["name"]])
    uses = [{"name": "paint", "input_schema": COLOR}]
    fields = {"messages": MESSAGES, "tools": uses, "max_tokens": 140, "temperature": 1.0}
    for reply in await ask(server, "/v1/messages", **fields, tool_choice={"type": "tool", "name": "paint"}):
        [use] = reply["content"]
        jsonschema.validate(use["input"], COLOR)


async def check_other_constraints(server: Any) -> None:
    plain = {"messages": MESSAGES, "thinking_budget": 7}
    for form, expected in (
        ({"guided_regex": "[ab]{3}-[0-9]"}, "[ab]{3}-[0-9]"),
        ({"structured_outputs": {"choice": ["yes", "no, never"]}}, "yes|no, never"),
        ({"grammar": 'root ::= "x" [0-9] "!"'}, "x[0-9]!"),
    ):
        for reply in await ask(server, "/v1/chat/completions", **plain, **form):
            assert re.fullmatch(expected, reply["choices"][0]["message"]["content"])


async def check_attempts(server: Any) -> None:
    """A keyword that tokens are not held to is met by another attempt."""
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": UNIQUE}}
    fields = {"messages": MESSAGES, "thinking_budget": 3, "response_format": form}
    replies = await ask(server, "/v1/chat/completions", **fields)
    for reply in replies:
        [choice] = reply["choices"]
        if choice["finish_reason"] == "stop":
            jsonschema.validate(json.loads(choice["message"]["content"]), UNIQUE)
        else:
            assert reply["anytime"]["ignored"] == ["response_format.json_schema.schema.uniqueItems"]
    assert any(reply["choices"][0]["finish_reason"] == "stop" for reply in replies)
    assert max(reply["anytime"]["usage"]["answer_tokens"] for reply in replies) > len("[1,2].")


async def check_answers_beside_tools(server: Any) -> None:
    """They are of the schema, or begin a call."""
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": COLOR}}
    fields = {
        "messages": MESSAGES,
        "tools": TOOLS,
        "thinking_budget": 3,
        "response_format": form,
        "max_tokens": 60,
    }
    for reply in await ask(server, "/v1/chat/completions", **fields):
        text = reply["choices"][0]["message"]["content"]
        if not text.lstrip().startswith("<tool_call>"):
            jsonschema.validate(json.loads(text), COLOR)
