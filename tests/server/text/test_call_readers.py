"""Our own readers of tool calls."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anytime_server.text.call_readers import read_json_list, read_solar

SOLAR = '<|tool_call:begin|>c1<|tool_call:name|>add<|tool_call:args|>{"a": 1}<|tool_call:end|>'


def calls_of(calls: Any) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in calls]


@pytest.mark.parametrize(
    "block",
    [
        '<TOOLCALL>[{"name": "add", "arguments": {"a": "]"}}]</TOOLCALL>',
        '<tool_calls>[{"name": "add", "arguments": {"a": "]"}, "id": "c1"}]</tool_calls>',
        '<|tool_call|>[{"name": "add", "arguments": {"a": "]"}}]',
        '<|START_ACTION|>[\n  {"tool_call_id": "0", "tool_name": "add", "parameters": {"a": "]"}}\n]',
        '<|tools_prefix|>[{"add": {"a": "]"}}]<|tools_suffix|>',
        r'<|tools_prefix|>[{"add": "{\"a\": \"]\"}"}]<|tools_suffix|>',
    ],
)
def test_json_lists_of_every_family_are_read(block: str) -> None:
    assert calls_of(read_json_list(block)) == [("add", {"a": "]"})]


@pytest.mark.parametrize(
    "entries",
    [
        '[{"name": "add"',
        '[{"name": "add"}]',
        '[{"name": 1, "arguments": {}}]',
        "[1]",
        "[]",
        "",
        "[{}]",
        "[{x}]",
    ],
)
def test_list_with_an_unreadable_call_has_no_calls(entries: str) -> None:
    assert read_json_list(f"<TOOLCALL>{entries}</TOOLCALL>") == []
    if entries.endswith("}]"):
        both = f'[{{"name": "add", "arguments": {{}}}}, {entries.removeprefix("[")}'
        assert read_json_list(both) == []


def test_calls_of_solar_are_read_all_or_none() -> None:
    assert calls_of(read_solar(f"<|tool_calls|>{SOLAR}{SOLAR}")) == [("add", {"a": 1})] * 2
    broken = SOLAR.replace("1}", "}")
    assert read_solar(f"<|tool_calls|>{SOLAR}{broken}") == []
