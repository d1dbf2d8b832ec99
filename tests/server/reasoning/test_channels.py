"""The channels of each family: its own texts begin the parts that they are for."""

from __future__ import annotations

import pytest
from anytime_server.reasoning import FAMILIES, ChannelTexts, Part

CHANNELS = {name: family.channels for name, family in FAMILIES.items() if family.channels is not None}


def part_begun_by(text: str, channels: ChannelTexts) -> Part | None:
    """The part after the last header of a text."""
    ends = [text.rindex(token) + len(token) for token in channels.closes if token in text]
    return channels.part_after(text[: max(ends)])


@pytest.mark.parametrize("name", CHANNELS)
def test_think_start_begins_thinking_and_the_form_without_thinking_begins_text(name: str) -> None:
    texts, channels = FAMILIES[name].texts, CHANNELS[name]
    assert part_begun_by(texts.think_start, channels) is Part.THINKING
    part = part_begun_by(texts.no_thinking or "", channels)
    assert part is not None
    assert part.is_text


@pytest.mark.parametrize(
    ("name", "header", "part"),
    [
        ("gpt-oss", "<|start|>assistant to=functions.add<|channel|>commentary json<|message|>", Part.CALL),
        ("gpt-oss", "<|channel|>commentary<|message|>", Part.TEXT),
        ("gpt-oss", "<|channel|>analysis<|channel|>final<|message|>", Part.FINAL),
        ("gpt-oss", "<|start|>assistant to=functions.add<|start|>assistant<|message|>", Part.TEXT),
        ("muse-glimmer", "<|start|>assistant to=selfish<|message|>", Part.CALL),
        ("muse-glimmer", "<|start|>assistant<|message|>", Part.TEXT),
        ("kimi-k3", "<|open|>tools<|sep|>", Part.CALL),
        ("kimi-k3", "<|close|>think<|sep|>", Part.NONE),
        ("kimi-k3", "<|open|>call add<|sep|>", None),
        ("solar-open", "<|tool_calls|>", Part.CALL),
        ("command-a-reasoning", "<|START_ACTION|>", Part.CALL),
        ("cohere-2-moe", "<|END_TEXT|>", Part.NONE),
    ],
)
def test_header_says_which_part_follows(name: str, header: str, part: Part | None) -> None:
    assert CHANNELS[name].part_after(header) is part
