"""Ling 3 and Ring 3."""

from anytime_server.reasoning.family import Family, Signs, Switch, thinking_between

FAMILY = Family(
    name="ling-3",
    models="Ling-3, Ring-3",
    signs=Signs(template=("<role>ASSISTANT</role>", "<think>")),
    texts=thinking_between("<think>", "</think>", no_thinking="<think></think>"),
    switch=Switch(on={"enable_thinking": True}, off={"enable_thinking": False}),
    tool_parser="ling3",
)
