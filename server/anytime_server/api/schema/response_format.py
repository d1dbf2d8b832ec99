"""The form that a request gives its answer: `response_format` and its schema."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from anytime_server.api.schema.fields import Fields, JsonObject, Text


class JsonSchema(Fields):
    """A JSON schema as OpenAI wraps it."""

    name: Text | None = None
    description: Text | None = None
    schema_: JsonObject | None = Field(default=None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Fields):
    """The form that the answer must have; the thinking is free."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = Field(default=None, validate_default=True)

    @field_validator("json_schema")
    @classmethod
    def _belongs_to_its_type(cls, json_schema: JsonSchema | None, info: ValidationInfo) -> JsonSchema | None:
        if "type" in info.data and (info.data["type"] == "json_schema") != (json_schema is not None):
            raise ValueError("is required for the type json_schema, and for no other")
        return json_schema

    @property
    def schema_text(self) -> str | None:
        """JSON Schema that the answer must match, as JSON text; None for any text."""
        if self.type == "text":
            return None
        if self.json_schema is None or self.json_schema.schema_ is None:
            return '{"type":"object"}'
        return json.dumps(self.json_schema.schema_)
