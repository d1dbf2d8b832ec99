"""Assistant's turns as clients send them back, and what the chat template gets of them."""

from __future__ import annotations

from typing import Any

import pytest
from anytime_server.api.schema.ignored import report_ignored
from anytime_server.api.schema.messages import Conversation
from anytime_server.errors import NotSupported
from anytime_server.types import IgnoredFields
from pydantic import ValidationError

USER = {"role": "user", "content": "7-3"}
SAID = {"role": "assistant", "content": "4"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
BLOCK = {"type": "thinking", "thinking": "7-3=4", "signature": "s"}
DETAIL = {"type": "reasoning.text", "text": "7-3=4", "format": "unknown", "index": 0, "signature": None}
LITELLM = SAID | {
    "provider_specific_fields": {"refusal": None},
    "function_call": None,
    "tool_calls": None,
    "refusal": None,
    "annotations": [],
}


def turn_of(message: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The turn for the chat template, and the ignored fields."""
    conversation, ignored = Conversation.model_validate({"messages": [message, USER]}), IgnoredFields()
    report_ignored(conversation, ignored)
    return conversation.turns()[0], ignored.fields


@pytest.mark.parametrize(
    "message",
    [
        SAID | {"reasoning_content": "7-3=4"},
        SAID | {"reasoning": "7-3=4"},
        SAID | {"reasoning_content": "7-3=4", "reasoning": "7-3=4", "thinking_blocks": [BLOCK]},
        LITELLM | {"thinking_blocks": [BLOCK]},
        LITELLM | {"reasoning_content": None, "reasoning_details": [DETAIL]},
        SAID | {"reasoning_details": [{"type": "reasoning.summary", "summary": "7-3=4"}]},
        SAID | {"content": [BLOCK, {"type": "text", "text": "4"}]},
        SAID | {"content": [{"type": "reasoning", "text": "7-3=4"}, {"type": "text", "text": "4"}]},
        SAID
        | {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "7-3=4"}], "closed": True},
                {"type": "text", "text": "4", "cache_control": {"type": "ephemeral"}},
            ]
        },
    ],
)
def test_thinking_of_every_form_reaches_the_template_once(message: dict[str, Any]) -> None:
    assert turn_of(message) == ({"role": "assistant", "content": "4", "reasoning_content": "7-3=4"}, [])


@pytest.mark.parametrize(
    "message",
    [
        LITELLM,
        LITELLM | {"thinking_blocks": [{"type": "redacted_thinking", "data": "x"}]},
        LITELLM | {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]},
        SAID | {"content": [{"type": "refusal", "refusal": "4"}]},
        SAID | {"content": None, "refusal": "4"},
    ],
)
def test_turn_without_readable_thinking_has_its_text(message: dict[str, Any]) -> None:
    assert turn_of(message) == (SAID, [])


def test_arguments_may_be_an_object() -> None:
    function = {"name": "f", "arguments": {"a": 1}}
    turn, _ = turn_of({"role": "assistant", "content": None, "tool_calls": [CALL | {"function": function}]})
    assert turn["tool_calls"][0]["function"] == function


@pytest.mark.parametrize(
    "call",
    [
        {"function": {"name": "f", "arguments": "{}"}},
        {"function": {"name": "f", "arguments": None}},
        {"function": {"name": "f"}},
        {"id": "", "function": {"name": "f", "arguments": " "}},
    ],
)
def test_call_without_an_id_or_arguments_is_shown(call: dict[str, Any]) -> None:
    turn, ignored = turn_of({"role": "assistant", "content": None, "tool_calls": [call]})
    assert turn["tool_calls"] == [{"type": "function", "function": {"name": "f", "arguments": {}}}]
    assert ignored == []


def test_result_without_an_id_is_shown() -> None:
    result = {"role": "tool", "content": "4"}
    assert turn_of(result) == (result, [])


def test_id_of_a_call_elsewhere_is_ignored_and_reported() -> None:
    assert turn_of(USER | {"tool_call_id": "c"}) == (USER, ["messages.0.tool_call_id"])
    assert turn_of(USER | {"tool_call_id": None}) == (USER, [])
    conversation = Conversation.model_validate({"messages": [USER | {"tool_call_id": "c"}]})
    ignored = IgnoredFields()
    report_ignored(conversation, ignored)
    assert ignored.kinds == ["messages.tool_call_id"], "a known field, counted by its name"
    with pytest.raises(NotSupported, match="has an effect only in a message of a tool"):
        report_ignored(conversation, IgnoredFields(is_strict=True))


@pytest.mark.parametrize(
    "content",
    [
        ["7-", "3"],
        [{"type": "input_text", "text": "7-"}, {"type": "text", "text": "3"}],
    ],
)
def test_parts_of_text_have_several_forms(content: list[Any]) -> None:
    assert turn_of(USER | {"content": content}) == (USER, [])
    turn, _ = turn_of(SAID | {"content": [{"type": "output_text", "text": "4"}]})
    assert turn == SAID


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (USER | {"content": [BLOCK]}, "a part of type 'thinking' is not served here, only text"),
        (USER | {"content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "type 'image_url'"),
        (SAID | {"function_call": {"name": "f", "arguments": "{}"}}, "is not served here"),
        (SAID | {"audio": {"id": "a"}}, "is not served here"),
    ],
)
def test_content_that_would_be_lost_is_refused(message: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        turn_of(message)
