"""Gemma 4, which thinks in a channel on request."""

from anytime_server.reasoning.channels import ChannelTexts, Part
from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="gemma-4",
    models="Gemma 4",
    signs=Signs(tokens=("<|channel>", "<channel|>"), template=("<|channel>",)),
    texts=thinking_between(
        "<|channel>thought\n", "<channel|>", answer_lead_in="", no_thinking="<|channel>thought\n<channel|>"
    ),
    channels=ChannelTexts(
        opens=("<|channel>", "<channel|>"),
        closes=("<|channel>", "<channel|>"),
        headers={r"<\|channel>$": Part.THINKING, r"<channel\|>$": Part.TEXT},
        other_headers=None,
        has_calls=False,
    ),
    sampling={"temperature": 1.0, "top_p": 0.95, "top_k": 64},
    tool_parser="gemma4",
)
