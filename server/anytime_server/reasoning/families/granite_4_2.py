"""Granite 4.2."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="granite-4.2",
    models="Granite-4.2",
    signs=Signs(template=("<|start_of_role|>", "<think>")),
    texts=thinking_between("<think>", "</think>", no_thinking=""),
)
