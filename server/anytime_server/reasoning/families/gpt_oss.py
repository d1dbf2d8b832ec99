"""gpt-oss, which writes in channels (the harmony format)."""

from anytime_server.reasoning.family import Family, Switch, think_tags

FAMILY = Family(
    name="gpt-oss",
    models="gpt-oss-20b, gpt-oss-120b, gpt-oss-safeguard",
    texts=think_tags(
        "<|channel|>analysis<|message|>",
        "<|end|>",
        answer_lead_in="",
        answer_start="<|start|>assistant<|channel|>final<|message|>",
        answer_start_with_tools="<|start|>assistant",
        no_thinking="<|channel|>final<|message|>",
    ),
    tokens=("<|channel|>", "<|message|>", "<|end|>", "<|start|>"),
    template=("analysis",),
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
