"""Gemma 4, which thinks in a channel on request."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="gemma-4",
    models="Gemma 4",
    texts=think_tags(
        "<|channel>thought\n", "<channel|>", answer_lead_in="", no_thinking="<|channel>thought\n<channel|>"
    ),
    tokens=("<|channel>", "<channel|>"),
    template=("<|channel>",),
    sampling={"temperature": 1.0, "top_p": 0.95, "top_k": 64},
    tool_parser="gemma4",
)
