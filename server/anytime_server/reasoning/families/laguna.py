"""Poolside's Laguna models."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="laguna",
    models="Laguna-S, Laguna-XS",
    signs=Signs(template=("<assistant>", "<think>", "enable_thinking")),
    texts=thinking_between("<think>", "</think>", no_thinking="</think>"),
    tool_parser="poolside_v1",
)
