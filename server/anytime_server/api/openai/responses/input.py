"""The input of a Responses request: a string, or items of the types that are served."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator

from anytime_server.api.openai.responses.input_items import (
    CallItem,
    CallOutputItem,
    CustomCallItem,
    InputItem,
    ItemReference,
    MessageItem,
    MoreToolsItem,
    ReasoningItem,
)
from anytime_server.api.openai.responses.records import RECORDS, EmptyRecordItem, RecordItem
from anytime_server.api.schema.fields import BoundedList, of_type, whole_characters, written_again

ITEMS: dict[str, type[InputItem]] = {
    "message": MessageItem,
    "reasoning": ReasoningItem,
    "function_call": CallItem,
    "function_call_output": CallOutputItem,
    "custom_tool_call": CustomCallItem,
    "custom_tool_call_output": CallOutputItem,
    "item_reference": ItemReference,
    "additional_tools": MoreToolsItem,
    "tool_search_output": MoreToolsItem,
    **RECORDS,
}
UNREADABLE = {
    "compaction": "its content is encrypted by the server that made it",
    "computer_call_output": "its image cannot be shown to the model",
    "image_generation_call": "its image cannot be shown to the model",
}
"""Items with content that would be lost, and why."""


def item_of(value: Any) -> InputItem:
    """Validate an item as the type that it names, or is without one.

    Raises:
        ValueError: it is no item that is served.
    """
    if not isinstance(value, dict):
        return of_type(value, ITEMS, "an item")
    is_reference = "id" in value and "role" not in value and "content" not in value
    kind = value.get("type") or ("item_reference" if is_reference else "message")
    if isinstance(kind, str) and kind in UNREADABLE:
        raise ValueError(f"an item of type {kind} is not served: {UNREADABLE[kind]}")
    written_again(value)  # it may be stored, and returned
    # The SDK writes out every field of an item; those without a value mean nothing.
    given = {name: one for name, one in value.items() if one is not None} | {"type": kind}
    item = of_type(given, ITEMS, "an item")
    item.keep_wire({"type": kind} | value)
    return item


AnyItem = (
    MessageItem
    | ReasoningItem
    | CallItem
    | CustomCallItem
    | CallOutputItem
    | MoreToolsItem
    | ItemReference
    | RecordItem
    | EmptyRecordItem
)
Item = Annotated[InputItem, PlainValidator(item_of, json_schema_input_type=AnyItem)]


def _text_or_items(value: Any) -> Any:
    if not isinstance(value, str):
        if not isinstance(value, list):
            raise ValueError("must be a string or a list of items")
        return value
    if not whole_characters(value).strip():
        raise ValueError("the prompt is empty")
    return [{"role": "user", "content": value}]


Items = Annotated[
    BoundedList[Item],
    Field(min_length=1),
    BeforeValidator(_text_or_items, str | list[Item]),
]
"""A string, which is one message of the user's, or a list of items."""
