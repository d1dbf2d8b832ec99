"""Checks answers for the parts of JSON schemas that their tokens were not held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from anytime_server.engine import Engine
from anytime_server.errors import NotSupported
from anytime_server.text.json_calls import JsonCalls
from anytime_server.text.tool_calls import CallParser


@dataclass(frozen=True, slots=True)
class CheckedSchema:
    """A JSON schema as the client gave it."""

    json_schema: str
    field: str
    """The client's name of the field that it is in."""

    def field_of(self, pointer: str) -> str:
        """The client's name of a keyword, by its JSON pointer."""
        return ".".join((self.field, *pointer.split("/")[1:]))


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerCheck:
    """Schemas that an answer must match, which its tokens were not held to entirely."""

    answer: CheckedSchema | None = None
    """Of an answer without calls."""
    arguments: Mapping[str, CheckedSchema] = field(default_factory=dict)
    """Of the arguments of calls, by function."""

    async def fault(self, text: str, parser: CallParser | None, engine: Engine) -> Fault | None:
        """The part of a schema that an answer does not match; None if it matches all.

        Raises:
            EngineDead, EngineFailed: it cannot be checked now.
        """
        for schema, one in self._parts(text, parser):
            try:
                violated = await engine.violation(schema.json_schema, one)
            except NotSupported as error:
                return Fault(field=schema.field, why=str(error), is_certain=False)
            if violated is not None:
                return Fault(field=schema.field_of(violated), why="the answer does not match it")
        return None

    def _parts(self, text: str, parser: CallParser | None) -> Sequence[tuple[CheckedSchema, str]]:
        if isinstance(parser, JsonCalls) and (calls := parser.read(text)):
            return [
                (self.arguments[call.name], call.arguments) for call in calls if call.name in self.arguments
            ]
        is_call = parser is not None and parser.begins_call(text)
        return [] if self.answer is None or is_call else [(self.answer, text)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A part of the client's schema that an answer does not match."""

    field: str
    """The client's name of it."""
    why: str
    is_certain: bool = True
    """False where the answer could not be checked."""
