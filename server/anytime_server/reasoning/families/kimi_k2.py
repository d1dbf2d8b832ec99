"""Kimi-K2-Thinking and K2.5."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="kimi-k2-thinking",
    models="Kimi-K2-Thinking, Kimi-K2.5",
    texts=think_tags(no_thinking="<think></think>"),
    tokens=("<|im_middle|>",),
    template=("<think>", "<|im_middle|>"),
    sampling={"temperature": 1.0},
    tool_parser="kimi_k2",
)
