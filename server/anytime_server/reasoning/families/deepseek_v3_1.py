"""DeepSeek-V3.1, which thinks on request."""

from anytime_server.reasoning.family import Family, Signs, Switch, thinking_between

FAMILY = Family(
    name="deepseek-v3.1",
    models="DeepSeek-V3.1",
    signs=Signs(
        model_types=("deepseek_v3",),
        tokens=("<think>", "</think>", "<｜Assistant｜>"),
        template=("<｜Assistant｜>", "thinking", "</think>"),
    ),
    texts=thinking_between("<think>", "</think>", no_thinking="</think>"),
    switch=Switch(
        on={"thinking": True, "enable_thinking": True}, off={"thinking": False, "enable_thinking": False}
    ),
    sampling={"temperature": 0.6, "top_p": 0.95},
)
