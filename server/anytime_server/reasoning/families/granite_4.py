"""Granite 4.2."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="granite-4.2",
    models="Granite-4.2",
    texts=think_tags(no_thinking=""),
    template=("<|start_of_role|>", "<think>"),
)
