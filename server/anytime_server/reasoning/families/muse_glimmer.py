"""Muse Glimmer, which thinks in messages to itself."""

from anytime_server.reasoning.channels import ChannelTexts, Part
from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="muse-glimmer",
    models="Muse Glimmer",
    signs=Signs(template=("to=self", "<|message|>")),
    texts=thinking_between(
        " to=self<|message|>",
        "<|eom|>",
        answer_lead_in="",
        answer_start="<|start|>assistant to=user<|message|>",
        answer_start_with_tools="<|start|>assistant",
        no_thinking=" to=user<|message|>",
    ),
    channels=ChannelTexts(
        opens=("<|start|>",),
        closes=("<|message|>",),
        ends=("<|eom|>", "<|eot|>"),
        restarts="<|start|>",
        headers={
            r"\bto=user(?=[\s<])": Part.TEXT,
            r"\bto=self(?=[\s<])": Part.THINKING,
            r"\bto=[^\s<]": Part.CALL,
        },
        other_headers=Part.TEXT,
    ),
    tool_parser="muse_glimmer",
)
