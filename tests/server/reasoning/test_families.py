"""Families: how they are recognised, and their texts around truncated thinking."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import pytest
from anytime_server.reasoning import (
    FAMILIES,
    NO_THINKING,
    Cause,
    Evidence,
    Family,
    Forcing,
    ReasoningFormat,
    recognised,
    truncate_thinking,
)

from .conftest import CharacterTokenizer

QWEN = ("<think>", "</think>", "<|im_start|>", "<|im_end|>", "<tool_call>")
DEEPSEEK = ("<think>", "</think>", "<｜User｜>", "<｜Assistant｜>")
COHERE = ("<|START_THINKING|>", "<|END_THINKING|>", "<|START_TEXT|>")
OPENS = "<|im_start|>assistant\\n<think>\\n"


def evidence(
    model_type: str = "",
    tokens: tuple[str, ...] = (),
    template: str = "",
    prompt: str = "",
    switch: bool = False,
) -> Evidence:
    return Evidence(
        model_type=model_type,
        has_token=lambda text: text in tokens,
        template=template,
        prompt=prompt,
        has_switch=switch,
    )


@pytest.mark.parametrize(
    ("family", "found"),
    [
        ("deepseek-r1", evidence("qwen2", DEEPSEEK, "<｜Assistant｜><think>\\n")),
        ("deepseek-r1", evidence("deepseek_v3", DEEPSEEK, "<｜Assistant｜><think>\\n")),
        # DeepSeek's distillations of Qwen keep the entries of both families.
        ("deepseek-r1", evidence("qwen3", (*QWEN, *DEEPSEEK), "<｜Assistant｜><think>\\n")),
        (
            "deepseek-v3.1",
            evidence("deepseek_v3", DEEPSEEK, "<｜Assistant｜>{{ thinking }}<think></think>"),
        ),
        ("qwen3", evidence("qwen3", QWEN, "<think>\\n\\n</think>{{ enable_thinking }}")),
        ("qwen3-thinking", evidence("qwen3", QWEN, OPENS, prompt="<think>\n")),
        ("qwen3-thinking", evidence("qwen2", QWEN, OPENS, prompt="<think>\n")),
        ("smollm3", evidence("smollm3", QWEN, "<think> /no_think enable_thinking")),
        ("nemotron", evidence("nemotron_h", QWEN, "<think> </think> enable_thinking")),
        ("mimo", evidence("mimo_v2", QWEN, "<think> enable_thinking")),
        ("deepseek-v4", evidence("deepseek_v4", DEEPSEEK)),
        ("cohere-2-moe", evidence("cohere2_moe", COHERE, "<|START_THINKING|><|START_TEXT|>")),
        ("granite-3.3", evidence("granite", (), "<|start_of_role|><think><response></response>thinking")),
        ("phi-4-reasoning", evidence("phi3", (), "<|im_sep|> use the format <think> {Thought} </think>")),
        ("magistral", evidence("mistral", ("[THINK]", "[/THINK]"), "[INST]")),
        # Qwen3-Instruct-2507 and -Coder have the vocabulary of Qwen3, and do not think.
        ("no-thinking", evidence("qwen3", QWEN, "<|im_start|>assistant\\n")),
        # ... and a template that shows earlier thinking all the same.
        ("no-thinking", evidence("qwen3", QWEN, "<think> {{ reasoning_content }} </think>")),
        ("no-thinking", evidence("llama", ("<|im_start|>", "<tool_call>"), "<|im_start|>assistant\\n")),
        ("think-tags", evidence("new", (), "<think>", switch=True)),
        ("think-tags", evidence("new", (), "<think>", prompt="A: <think>\n")),
        ("no-thinking", evidence()),
    ],
)
def test_family_is_recognised_by_architecture_vocabulary_and_template(family: str, found: Evidence) -> None:
    assert recognised(found).name == family


@pytest.mark.parametrize(("name", "family"), FAMILIES.items())
def test_file_of_a_family_has_its_name(name: str, family: Family) -> None:
    file = name.replace("-", "_").replace(".", "_")
    assert import_module(f"anytime_server.reasoning.families.{file}").FAMILY is family


def test_a_marker_that_must_be_a_token_does_not_count_as_text() -> None:
    assert recognised(evidence("gpt_oss", (), "<|channel|>analysis")).name == "no-thinking"


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != NO_THINKING.name])
def test_a_familys_texts_surround_truncated_thinking(
    tokenizer_of: Callable[..., CharacterTokenizer], family: str
) -> None:
    texts, tokens = FAMILIES[family].texts, FAMILIES[family].signs.tokens
    tokenizer = tokenizer_of(*tokens, "<eos>")
    reasoning = ReasoningFormat.from_texts(texts, tokenizer)
    truncation = truncate_thinking(
        tokenizer.encode("7 less 3"), reasoning, cause=Cause.BUDGET, forcing=Forcing.AUTO
    )
    prompt = truncation.answer_prompt([*tokenizer.encode("7-3"), *reasoning.think_start_ids])
    assert tokenizer.decode(prompt) == (
        f"7-3{texts.think_start}7 less 3{texts.truncation}{texts.think_end}{texts.answer_start}"
        f"{texts.answer_lead_in}"
    )
    assert len(truncation.inserted_ids) <= reasoning.max_inserted_tokens


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != NO_THINKING.name])
def test_thinking_that_ended_by_itself_gets_no_lead_in(
    tokenizer_of: Callable[..., CharacterTokenizer], family: str
) -> None:
    texts = FAMILIES[family].texts
    tokenizer = tokenizer_of(texts.think_start, texts.think_end, "<eos>")
    reasoning = ReasoningFormat.from_texts(texts.model_copy(update={"think_end_variants": ()}), tokenizer)
    ended = [*tokenizer.encode("7"), *reasoning.think_end_ids]
    truncation = truncate_thinking(ended, reasoning, cause=Cause.BUDGET, forcing=Forcing.AUTO)
    assert truncation.cause is Cause.NATURAL
    assert tokenizer.decode(truncation.inserted_ids) == texts.answer_start


def test_a_model_that_does_not_think_has_no_markers(tokenizer_of: Callable[..., CharacterTokenizer]) -> None:
    reasoning = ReasoningFormat.from_texts(NO_THINKING.texts, tokenizer_of("<eos>"))
    assert (reasoning.thinks, reasoning.think_end_id, reasoning.max_inserted_tokens) == (False, None, 0)
    assert reasoning.thinking_stop_ids == reasoning.eos_ids
