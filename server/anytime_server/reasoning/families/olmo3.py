"""Olmo-3-Think, whose tags are ordinary text."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="olmo-3-think",
    models="Olmo-3-7B-Think, Olmo-3-32B-Think",
    texts=think_tags(),
    template=("<think>",),
    model_types=("olmo3", "olmo2"),
    sampling={"temperature": 0.6, "top_p": 0.95},
    tool_parser="olmo3",
)
