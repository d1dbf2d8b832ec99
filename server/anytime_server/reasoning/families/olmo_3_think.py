"""Olmo-3-Think, whose tags are ordinary text."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="olmo-3-think",
    models="Olmo-3-7B-Think, Olmo-3-32B-Think",
    signs=Signs(model_types=("olmo3", "olmo2"), template=("<think>",)),
    texts=thinking_between("<think>", "</think>"),
    sampling={"temperature": 0.6, "top_p": 0.95},
    tool_parser="olmo3",
)
