"""DeepSeek-V3.1 and later: models that think on request."""

from anytime_server.reasoning.family import Family, Switch, think_tags

FAMILY = Family(
    name="deepseek-v3.1",
    models="DeepSeek-V3.1, V3.2, V4",
    texts=think_tags(no_thinking="</think>"),
    tokens=("<think>", "</think>", "<｜Assistant｜>"),
    template=("<｜Assistant｜>", "thinking", "</think>"),
    model_types=("deepseek_v3", "deepseek_v32", "deepseek_v4"),
    switch=Switch(
        on={"thinking": True, "enable_thinking": True}, off={"thinking": False, "enable_thinking": False}
    ),
    sampling={"temperature": 0.6, "top_p": 0.95},
    note="V3.2 and V4 come without a chat template: give one with --chat-template.",
)
