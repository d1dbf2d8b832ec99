"""MiniMax-M3."""

from anytime_server.reasoning.family import Family, Switch, think_tags

FAMILY = Family(
    name="minimax-m3",
    models="MiniMax-M3",
    texts=think_tags("<mm:think>", "</mm:think>", no_thinking="</mm:think>"),
    template=("<mm:think>", "thinking_mode"),
    switch=Switch(on={"thinking_mode": "enabled"}, off={"thinking_mode": "disabled"}),
    sampling={"temperature": 1.0, "top_p": 0.95, "top_k": 40},
    tool_parser="minimax_m3",
)
