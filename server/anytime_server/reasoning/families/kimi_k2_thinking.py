"""Kimi-K2-Thinking and K2.5."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="kimi-k2-thinking",
    models="Kimi-K2-Thinking, Kimi-K2.5",
    signs=Signs(tokens=("<|im_middle|>",), template=("<think>", "<|im_middle|>")),
    texts=thinking_between("<think>", "</think>", no_thinking="<think></think>"),
    sampling={"temperature": 1.0},
    tool_parser="kimi_k2",
)
