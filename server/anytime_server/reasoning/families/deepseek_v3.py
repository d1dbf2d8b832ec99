"""DeepSeek-V3.1 and later: models that think on request."""

from dataclasses import replace

from anytime_server.reasoning.family import Family, Switch, think_tags

FAMILY = Family(
    name="deepseek-v3.1",
    models="DeepSeek-V3.1",
    texts=think_tags(no_thinking="</think>"),
    tokens=("<think>", "</think>", "<｜Assistant｜>"),
    template=("<｜Assistant｜>", "thinking", "</think>"),
    model_types=("deepseek_v3",),
    switch=Switch(
        on={"thinking": True, "enable_thinking": True}, off={"thinking": False, "enable_thinking": False}
    ),
    sampling={"temperature": 0.6, "top_p": 0.95},
)
FAMILY_V3_2 = replace(
    FAMILY,
    name="deepseek-v3.2",
    models="DeepSeek-V3.2",
    template=(),
    model_types=("deepseek_v32",),
    tool_parser="deepseek_v32",
    note="It comes without a chat template: give one with --chat-template.",
)
FAMILY_V4 = replace(
    FAMILY_V3_2,
    name="deepseek-v4",
    models="DeepSeek-V4",
    model_types=("deepseek_v4",),
    tool_parser="deepseek_v4",
)
