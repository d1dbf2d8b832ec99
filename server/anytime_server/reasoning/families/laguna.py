"""Poolside's Laguna models."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="laguna",
    models="Laguna-S, Laguna-XS",
    texts=think_tags(no_thinking="</think>"),
    template=("<assistant>", "<think>", "enable_thinking"),
    tool_parser="poolside_v1",
)
