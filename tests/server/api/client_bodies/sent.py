"""A body as a client sends it, and what all of them have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}
Dialect = Literal["chat", "responses", "messages"]


@dataclass(frozen=True, slots=True)
class Sent:
    """A body and what the server must make of it."""

    client: str
    dialect: Dialect
    body: dict[str, Any]
    ignored: tuple[str, ...] = ()
    wants_json: bool = False


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"title": "A", "type": "integer"}, "b": {"title": "B", "type": "integer"}},
    "required": ["a", "b"],
}
CLOSED = SCHEMA | {"additionalProperties": False}
ANSWER: dict[str, Any] = {
    "type": "object",
    "title": "Answer",
    "properties": {"answer": {"title": "Answer", "type": "integer"}},
    "required": ["answer"],
    "additionalProperties": False,
}
ARGUMENTS = '{"a": 7, "b": 3}'
USER: dict[str, Any] = {"role": "user", "content": "7+3"}
PARTS: dict[str, Any] = {"role": "user", "content": [{"type": "text", "text": "7+3"}]}
MORE: dict[str, Any] = {"role": "user", "content": "and once more"}
