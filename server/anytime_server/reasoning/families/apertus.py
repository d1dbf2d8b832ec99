"""Apertus, which deliberates between a prefix and a suffix."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="apertus",
    models="Apertus-8B, Apertus-70B",
    texts=think_tags("<|inner_prefix|>", "<|inner_suffix|>", answer_lead_in="", no_thinking=""),
    tokens=("<|inner_prefix|>", "<|inner_suffix|>"),
    template=("<|inner_prefix|>",),
    sampling={"temperature": 0.8, "top_p": 0.9},
    tool_parser="apertus",
)
