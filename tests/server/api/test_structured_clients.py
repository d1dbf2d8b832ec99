"""Structured output as the usual clients ask for it: their bodies, written anew."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from anytime_server.text.model import Model

USER = {"role": "user", "content": "Where is the Louvre?"}
CITY: dict[str, Any] = {
    "additionalProperties": False,
    "properties": {
        "city": {"title": "City", "type": "string"},
        "country": {"title": "Country", "type": "string"},
    },
    "required": ["city", "country"],
    "title": "City",
    "type": "object",
}


def tool(name: str, parameters: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": name, "description": "A tool.", "parameters": parameters} | fields,
    }


REQUIRED: dict[str, dict[str, Any]] = {
    "Pydantic AI": {
        "model": "tiny",
        "messages": [{"role": "system", "content": "Be brief."}, USER],
        "parallel_tool_calls": True,
        "tool_choice": "required",
        "tools": [
            tool("final_result", CITY, strict=True),
            tool("lookup", {"additionalProperties": False, "properties": {}, "type": "object"}),
        ],
        "stream": False,
    },
    "LiteLLM": {
        "model": "tiny",
        "messages": [USER],
        "tools": [tool("json_tool_call", CITY)],
        "tool_choice": {"type": "function", "function": {"name": "json_tool_call"}},
        "max_tokens": 1024,
        "extra_body": {},
    },
    "Instructor": {
        "model": "tiny",
        "messages": [USER],
        "tools": [tool("City", CITY)],
        "tool_choice": {"type": "function", "function": {"name": "City"}},
    },
    "LangChain, function_calling": {
        "model": "tiny",
        "messages": [{"content": USER["content"], "role": "user"}],
        "parallel_tool_calls": False,
        "tool_choice": {"type": "function", "function": {"name": "City"}},
        "tools": [tool("City", CITY, strict=True)],
        "stream": False,
        "temperature": 0.0,
    },
    "smolagents": {
        "model": "tiny",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Where is the Louvre?"}]}],
        "stop": ["Observation:", "Calling tools:"],
        "tool_choice": "required",
        "tools": [
            tool(
                "web_search",
                {
                    "type": "object",
                    "properties": {"query": {"type": "string", "description": "q"}},
                    "required": ["query"],
                },
            ),
            tool(
                "final_answer",
                {
                    "type": "object",
                    "properties": {"answer": {"type": "any", "description": "a"}},
                    "required": ["answer"],
                },
            ),
        ],
    },
    "LlamaIndex": {
        "model": "tiny",
        "messages": [USER],
        "stream": False,
        "parallel_tool_calls": False,
        "temperature": 0.1,
        "tool_choice": "required",
        "tools": [tool("City", CITY)],
    },
}


@pytest.mark.parametrize("client", REQUIRED)
async def test_client_gets_the_call_that_it_requires(served: Any, tool_model: Model, client: str) -> None:
    server, body = await served(window_tokens=4096, model=tool_model), REQUIRED[client]
    reply = await server.http.post("/v1/chat/completions", json=body | {"thinking_budget": 5})
    assert reply.status_code == 200, reply.text
    [choice] = reply.json()["choices"]
    [call] = choice["message"]["tool_calls"]
    [parameters] = [
        one["function"]["parameters"]
        for one in body["tools"]
        if one["function"]["name"] == call["function"]["name"]
    ]
    if client != "smolagents":
        jsonschema.validate(json.loads(call["function"]["arguments"]), parameters)
    assert choice["message"]["reasoning_content"]
    ignored = [
        field for field in reply.json()["anytime"]["ignored"] if field not in ("max_tokens", "extra_body")
    ]
    assert ignored == (["stop"] if "stop" in body else [])  # a call ends by itself


ZOD: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "email": {
            "type": "string",
            "format": "email",
            "pattern": "^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@"
            "([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$",
        },
        "id": {
            "type": "string",
            "format": "uuid",
            "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        },
        "counts": {
            "type": "object",
            "propertyNames": {"type": "string"},
            "additionalProperties": {"type": "number"},
        },
        "step": {"type": "number", "multipleOf": 0.5},
        "extra": {"type": "object", "properties": {}, "additionalProperties": {}},
        "both": {
            "allOf": [
                {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
                {"type": "object", "properties": {"b": {"type": "number"}}, "required": ["b"]},
            ]
        },
        "kind": {"default": "x", "type": "string", "enum": ["x", "y"]},
    },
    "required": ["email", "id", "counts", "step", "extra", "both", "kind"],
    "additionalProperties": False,
}
PYDANTIC: dict[str, Any] = {
    "$defs": {
        "Cat": {
            "properties": {"kind": {"const": "cat", "title": "Kind", "type": "string"}},
            "required": ["kind"],
            "title": "Cat",
            "type": "object",
        },
        "Dog": {
            "properties": {"kind": {"const": "dog", "title": "Kind", "type": "string"}},
            "required": ["kind"],
            "title": "Dog",
            "type": "object",
        },
    },
    "properties": {
        "pet": {
            "discriminator": {
                "mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"},
                "propertyName": "kind",
            },
            "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
        },
        "tags": {
            "items": {"type": "string"},
            "maxItems": 3,
            "title": "Tags",
            "type": "array",
            "uniqueItems": True,
        },
        "by_color": {
            "additionalProperties": {"type": "integer"},
            "propertyNames": {"enum": ["red", "blue"]},
            "type": "object",
        },
        "secret": {"format": "password", "title": "Secret", "type": "string", "writeOnly": True},
        "when": {"anyOf": [{"format": "date-time", "type": "string"}, {"type": "null"}], "default": None},
        "pair": {
            "maxItems": 2,
            "minItems": 2,
            "prefixItems": [{"type": "integer"}, {"type": "string"}],
            "type": "array",
        },
    },
    "required": ["pet", "tags", "by_color", "secret", "pair"],
    "title": "Owner",
    "type": "object",
}
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "OpenAI's SDK, .parse()": (
        "/v1/chat/completions",
        {
            "messages": [USER],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"schema": CITY, "name": "City", "strict": True},
            },
            "stream": False,
        },
    ),
    "LangChain, json_schema": (
        "/v1/chat/completions",
        {
            "messages": [USER],
            "response_format": {
                "type": "json_schema",
                "json_schema": {
                    "name": "Owner",
                    "description": "An owner.",
                    "strict": True,
                    "schema": PYDANTIC,
                },
            },
        },
    ),
    "AI SDK, generateObject": (
        "/v1/chat/completions",
        {
            "messages": [USER],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"schema": ZOD, "strict": True, "name": "response"},
            },
        },
    ),
    "Instructor, JSON mode": (
        "/v1/chat/completions",
        {
            "messages": [{"role": "system", "content": "Answer in JSON."}, USER],
            "response_format": {"type": "json_object", "schema": CITY},
        },
    ),
    "zodTextFormat": (
        "/v1/responses",
        {
            "input": "x",
            "text": {"format": {"type": "json_schema", "name": "event", "strict": True, "schema": ZOD}},
        },
    ),
    "Anthropic's SDK, .parse()": (
        "/v1/messages",
        {
            "messages": [USER],
            "max_tokens": 1024,
            "output_config": {"format": {"type": "json_schema", "schema": PYDANTIC}},
        },
    ),
}


@pytest.mark.parametrize("client", FORMATS)
async def test_client_gets_an_answer_of_its_schema(served: Any, client: str) -> None:
    server, (path, body) = await served(window_tokens=4096), FORMATS[client]
    reply = await server.http.post(path, json={"model": "tiny"} | body)
    assert reply.status_code == 200, reply.text
    whole = reply.json()
    assert whole["anytime"]["ignored"] == []
    if path == "/v1/chat/completions":
        form, text = body["response_format"], whole["choices"][0]["message"]["content"]
        schema = form.get("schema") or form["json_schema"]["schema"]
    elif path == "/v1/responses":
        schema, text = body["text"]["format"]["schema"], whole["output"][-1]["content"][0]["text"]
    else:
        schema, text = body["output_config"]["format"]["schema"], whole["content"][-1]["text"]
    jsonschema.validate(json.loads(text), schema)
