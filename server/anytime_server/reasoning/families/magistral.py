"""Mistral's reasoning models."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="magistral",
    models="Magistral, Ministral-3-Reasoning, Mistral-Small-4",
    signs=Signs(tokens=("[THINK]", "[/THINK]")),
    texts=thinking_between("[THINK]", "[/THINK]"),
    efforts={"none": "none", "high": "high", "medium": "high", "low": "high", "xhigh": "high", "max": "high"},
    sampling={"temperature": 0.7, "top_p": 0.95},
    note="The chat template's default system message asks for the thinking; one of your own should, too.",
)
