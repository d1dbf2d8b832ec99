"""Cohere's Command models that think."""

from anytime_server.reasoning.channels import ChannelTexts, Part
from anytime_server.reasoning.family import Family, Signs, Switch, thinking_between

_MARKERS = (
    *("<|START_TEXT|>", "<|START_RESPONSE|>", "<|START_THINKING|>", "<|START_ACTION|>"),
    *("<|END_TEXT|>", "<|END_RESPONSE|>", "<|END_THINKING|>", "<|END_ACTION|>"),
)
"""Each is a header by itself."""

FAMILY = Family(
    name="command-a-reasoning",
    models="Command A Reasoning, Command R7B",
    signs=Signs(tokens=("<|START_THINKING|>", "<|END_THINKING|>"), template=("<|START_THINKING|>",)),
    texts=thinking_between(
        "<|START_THINKING|>",
        "<|END_THINKING|>",
        answer_lead_in="",
        answer_start="<|START_RESPONSE|>",
        answer_end="<|END_RESPONSE|>",
        no_thinking="<|START_THINKING|><|END_THINKING|><|START_RESPONSE|>",
    ),
    channels=ChannelTexts(
        opens=_MARKERS,
        closes=_MARKERS,
        headers={
            r"<\|START_(TEXT|RESPONSE)\|>$": Part.TEXT,
            r"<\|START_THINKING\|>$": Part.THINKING,
            r"<\|START_ACTION\|>$": Part.CALL,
        },
        other_headers=Part.NONE,
    ),
    switch=Switch(on={"reasoning": True}, off={"reasoning": False}),
    sampling={"temperature": 0.6, "top_p": 0.95},
    tool_parser="cohere_command4",
)
