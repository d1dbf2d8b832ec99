"""gpt-oss, which writes in channels (the harmony format)."""

from anytime_server.reasoning.channels import ChannelTexts, Part
from anytime_server.reasoning.family import Family, Signs, Switch, thinking_between

FAMILY = Family(
    name="gpt-oss",
    models="gpt-oss-20b, gpt-oss-120b, gpt-oss-safeguard",
    signs=Signs(tokens=("<|channel|>", "<|message|>", "<|end|>", "<|start|>"), template=("analysis",)),
    texts=thinking_between(
        "<|channel|>analysis<|message|>",
        "<|end|>",
        answer_lead_in="",
        answer_start="<|start|>assistant<|channel|>final<|message|>",
        answer_start_with_tools="<|start|>assistant",
        no_thinking="<|channel|>final<|message|>",
    ),
    channels=ChannelTexts(
        opens=("<|start|>", "<|channel|>"),
        closes=("<|message|>",),
        ends=("<|end|>", "<|call|>", "<|return|>"),
        restarts="<|start|>",
        headers={
            r"\bto=\S": Part.CALL,
            # Of several channels that a header names, the last one counts.
            r"<\|channel\|>analysis\b(?!.*<\|channel\|>)": Part.THINKING,
            r"<\|channel\|>final\b(?!.*<\|channel\|>)": Part.FINAL,
        },
        other_headers=Part.TEXT,
    ),
    switch=Switch(),
    efforts={
        "minimal": "low",
        "low": "low",
        "medium": "medium",
        "high": "high",
        "xhigh": "high",
        "max": "high",
    },
    sampling={"temperature": 1.0, "top_p": 1.0},
    tool_parser="openai",
)
