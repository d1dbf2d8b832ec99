"""Kimi-K3, whose channels open and close with three tokens each."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="kimi-k3",
    models="Kimi-K3",
    texts=think_tags(
        "<|open|>think<|sep|>",
        "<|close|>think<|sep|>",
        answer_lead_in="",
        answer_start="<|open|>response<|sep|>",
        answer_end="<|close|>response<|sep|>",
        no_thinking="<|open|>response<|sep|>",
    ),
    tokens=("<|open|>", "<|close|>", "<|sep|>"),
    template=("think",),
    effort_variable="thinking_effort",
    efforts={"minimal": "low", "low": "low", "medium": "high", "high": "high", "xhigh": "max", "max": "max"},
    sampling={"temperature": 1.0},
    tool_parser="kimi_k3",
)
