"""DeepSeek-V3.1 and later: models that think on request."""

from anytime_server.reasoning.family import Family, Switch, think_tags

TEXTS = think_tags(no_thinking="</think>")
TOKENS = ("<think>", "</think>", "<｜Assistant｜>")
SWITCH = Switch(
    on={"thinking": True, "enable_thinking": True}, off={"thinking": False, "enable_thinking": False}
)
SAMPLING = {"temperature": 0.6, "top_p": 0.95}
NO_TEMPLATE = "It comes without a chat template: give one with --chat-template."

FAMILY = Family(
    name="deepseek-v3.1",
    models="DeepSeek-V3.1",
    texts=TEXTS,
    tokens=TOKENS,
    template=("<｜Assistant｜>", "thinking", "</think>"),
    model_types=("deepseek_v3",),
    switch=SWITCH,
    sampling=SAMPLING,
)
FAMILY_V3_2 = Family(
    name="deepseek-v3.2",
    models="DeepSeek-V3.2",
    texts=TEXTS,
    tokens=TOKENS,
    model_types=("deepseek_v32",),
    switch=SWITCH,
    sampling=SAMPLING,
    tool_parser="deepseek_v32",
    note=NO_TEMPLATE,
)
FAMILY_V4 = Family(
    name="deepseek-v4",
    models="DeepSeek-V4",
    texts=TEXTS,
    tokens=TOKENS,
    model_types=("deepseek_v4",),
    switch=SWITCH,
    sampling=SAMPLING,
    tool_parser="deepseek_v4",
    note=NO_TEMPLATE,
)
