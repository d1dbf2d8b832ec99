"""Kimi-K3, whose channels open and close with three tokens each."""

from anytime_server.reasoning.channels import ChannelTexts, Part
from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="kimi-k3",
    models="Kimi-K3",
    signs=Signs(tokens=("<|open|>", "<|close|>", "<|sep|>"), template=("think",)),
    texts=thinking_between(
        "<|open|>think<|sep|>",
        "<|close|>think<|sep|>",
        answer_lead_in="",
        answer_start="<|open|>response<|sep|>",
        answer_end="<|close|>response<|sep|>",
        no_thinking="<|open|>response<|sep|>",
    ),
    channels=ChannelTexts(
        opens=("<|open|>", "<|close|>"),
        closes=("<|sep|>",),
        headers={
            r"<\|open\|>\s*response\b[^<]*<\|sep\|>$": Part.TEXT,
            r"<\|open\|>\s*think\b[^<]*<\|sep\|>$": Part.THINKING,
            r"<\|open\|>\s*tools\b[^<]*<\|sep\|>$": Part.CALL,
            r"<\|open\|>\s*message\b[^<]*<\|sep\|>$": Part.NONE,
            r"<\|close\|>\s*(response|think|tools|message)\b[^<]*<\|sep\|>$": Part.NONE,
        },
        other_headers=None,
    ),
    effort_variable="thinking_effort",
    efforts={"minimal": "low", "low": "low", "medium": "high", "high": "high", "xhigh": "max", "max": "max"},
    sampling={"temperature": 1.0},
    tool_parser="kimi_k3",
)
