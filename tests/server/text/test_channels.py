"""Answers in channels, as gpt-oss writes them: headers distinguish text, thinking and calls."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anytime_server.engine import Delta
from anytime_server.text.answer_text import AnswerText
from anytime_server.text.model import Model
from anytime_server.text.tool_calls import ModelTools, ToolCallParser

TOOL: dict[str, Any] = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
FINAL, ANALYSIS = "<|channel|>final<|message|>", "<|channel|>analysis<|message|>"
PREAMBLE = "<|channel|>commentary<|message|>So.<|end|><|start|>assistant"
CALL = '<|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": 1}'
EARLY_RECIPIENT = ' to=functions.add<|channel|>commentary json<|message|>{"a": 1}'
NEXT = "<|end|><|start|>assistant"
ADD = ("add", {"a": 1})


def read(
    model: Model, ids: list[int], *, size: int = 1, with_tools: bool = True, stop: str = ""
) -> AnswerText:
    tools = ModelTools.of(model, parser=None)
    assert tools is not None
    text = AnswerText(
        model,
        tool_parser=ToolCallParser(tools, [TOOL]) if with_tools else None,
        stop_ids=frozenset(model.tokenizer.encode(stop)),
    )
    shown = ""
    for begin in range(0, len(ids), size):
        piece = tuple(ids[begin : begin + size])
        reason = "length" if begin + size >= len(ids) else None
        delta = Delta(token_ids=piece, logprobs=(-0.5,) * len(piece), cached_tokens=0, finish_reason=reason)
        shown += text.push(delta)
        if text.has_ended:
            break
    assert shown + text.finish() == text.text
    return text


def calls_of(text: AnswerText) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in text.tool_calls]


@pytest.mark.parametrize("size", [1, 3, 999])
@pytest.mark.parametrize(
    ("sampled", "shown", "calls"),
    [
        (f"{FINAL}42", "42", []),
        ("<|channel|>final <|constrain|>json<|message|>42", "42", []),
        (f"{CALL}<|call|>", "", [ADD]),
        (f"{EARLY_RECIPIENT}<|call|>", "", [ADD]),
        (f"{PREAMBLE}{CALL}<|call|>", "So.", [ADD]),
        (f"{PREAMBLE}{FINAL}42", "So.\n\n42", []),
        (f"{CALL}{NEXT}{EARLY_RECIPIENT}<|call|>", "", [ADD, ADD]),
        (f"{CALL}<|start|>assistant{FINAL}42", "42", [ADD]),
        (f"<|channel|>fin<|start|>assistant{FINAL}42", "42", []),
    ],
)
def test_text_and_calls_are_found_in_any_pieces(
    harmony_model: Model, size: int, sampled: str, shown: str, calls: list[Any]
) -> None:
    text = read(harmony_model, harmony_model.tokenizer.encode(sampled), size=size)
    assert (text.text, calls_of(text)) == (shown, calls)
    assert not text.is_blank
    assert not text.num_leaked_tokens


@pytest.mark.parametrize(
    "call",
    [
        CALL.removesuffix("}"),
        CALL.replace("1", ""),
        CALL.replace('{"a": 1}', "[1]"),
        CALL.replace("functions.add", "browser.search"),
        CALL.replace("functions.add", "functions."),
    ],
)
def test_call_that_is_truncated_or_of_no_function_is_text(harmony_model: Model, call: str) -> None:
    text = read(harmony_model, harmony_model.tokenizer.encode(PREAMBLE + call))
    assert (text.text, text.tool_calls) == (f"So.<|start|>assistant{call}", [])


@pytest.mark.parametrize("sampled", [FINAL, "<|channel|>final", "<|channel|>", "<|message|>", "final 42"])
def test_headers_alone_are_a_blank_answer(harmony_model: Model, sampled: str) -> None:
    text = read(harmony_model, harmony_model.tokenizer.encode(sampled))
    assert (text.text, text.is_blank) == ("", True)


@pytest.mark.parametrize("with_tools", [False, True])
def test_answer_ends_with_its_final_text(harmony_model: Model, with_tools: bool) -> None:
    sampled = f"{FINAL}42{NEXT}{ANALYSIS}hm"
    text = read(harmony_model, harmony_model.tokenizer.encode(sampled), with_tools=with_tools)
    assert (text.text, text.has_ended, text.finish_reason) == ("42", True, "stop")


@pytest.mark.parametrize("with_tools", [False, True])
def test_thinking_that_is_not_asked_for_is_hidden_and_counted(harmony_model: Model, with_tools: bool) -> None:
    sampled = f"{ANALYSIS}so{NEXT}{FINAL}42"
    text = read(harmony_model, harmony_model.tokenizer.encode(sampled), with_tools=with_tools)
    assert (text.text, text.num_leaked_tokens) == ("42", len("so"))


@pytest.mark.parametrize(("sampled", "shown", "calls"), [(f"{FINAL}42", "42", []), (CALL, "", [ADD])])
def test_end_of_a_turn_is_neither_text_nor_part_of_a_call(
    harmony_model: Model, sampled: str, shown: str, calls: list[Any]
) -> None:
    text = read(harmony_model, harmony_model.tokenizer.encode(f"{sampled}%"), stop="%")
    assert (text.text, calls_of(text)) == (shown, calls)


def test_header_in_ordinary_characters_is_text(harmony_model: Model) -> None:
    tokenizer = harmony_model.tokenizer
    ids = tokenizer.encode(FINAL) + [i for character in ANALYSIS for i in tokenizer.encode(character)]
    assert read(harmony_model, ids).text == ANALYSIS


def test_nothing_follows_the_header_of_more_thinking_in_a_step(harmony_model: Model) -> None:
    text = read(harmony_model, harmony_model.tokenizer.encode(f"{ANALYSIS}more{FINAL}42"), size=999)
    assert text.has_begun_to_think
    assert len(text.token_ids) == len(harmony_model.tokenizer.encode(ANALYSIS))
