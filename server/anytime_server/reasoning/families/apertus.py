"""Apertus, which deliberates between a prefix and a suffix."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="apertus",
    models="Apertus-8B, Apertus-70B",
    signs=Signs(tokens=("<|inner_prefix|>", "<|inner_suffix|>"), template=("<|inner_prefix|>",)),
    texts=thinking_between("<|inner_prefix|>", "<|inner_suffix|>", answer_lead_in="", no_thinking=""),
    sampling={"temperature": 0.8, "top_p": 0.9},
    tool_parser="apertus",
)
