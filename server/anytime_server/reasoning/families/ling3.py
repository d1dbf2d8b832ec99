"""Ling 3 and Ring 3."""

from anytime_server.reasoning.family import Family, Switch, think_tags

FAMILY = Family(
    name="ling-3",
    models="Ling-3, Ring-3",
    texts=think_tags(no_thinking="<think></think>"),
    template=("<role>ASSISTANT</role>", "<think>"),
    switch=Switch(on={"enable_thinking": True}, off={"enable_thinking": False}),
    tool_parser="ling3",
)
