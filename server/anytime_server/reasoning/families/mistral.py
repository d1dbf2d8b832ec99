"""Mistral's reasoning models."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="magistral",
    models="Magistral, Ministral-3-Reasoning, Mistral-Small-4",
    texts=think_tags("[THINK]", "[/THINK]"),
    tokens=("[THINK]", "[/THINK]"),
    efforts={"none": "none", "high": "high", "medium": "high", "low": "high", "xhigh": "high", "max": "high"},
    sampling={"temperature": 0.7, "top_p": 0.95},
    note="The chat template's default system message asks for the thinking; one of your own should, too.",
)
