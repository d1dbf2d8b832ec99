"""MiniMax-M3."""

from anytime_server.reasoning.family import Family, Signs, Switch, thinking_between

FAMILY = Family(
    name="minimax-m3",
    models="MiniMax-M3",
    signs=Signs(template=("<mm:think>", "thinking_mode")),
    texts=thinking_between("<mm:think>", "</mm:think>", no_thinking="</mm:think>"),
    switch=Switch(on={"thinking_mode": "enabled"}, off={"thinking_mode": "disabled"}),
    sampling={"temperature": 1.0, "top_p": 0.95, "top_k": 40},
    tool_parser="minimax_m3",
)
