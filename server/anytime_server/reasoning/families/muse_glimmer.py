"""Muse Glimmer, which thinks in messages to itself."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="muse-glimmer",
    models="Muse Glimmer",
    texts=think_tags(
        " to=self<|message|>",
        "<|eom|>",
        answer_lead_in="",
        answer_start="<|start|>assistant to=user<|message|>",
        answer_start_with_tools="<|start|>assistant",
        no_thinking=" to=user<|message|>",
    ),
    template=("to=self", "<|message|>"),
    tool_parser="muse_glimmer",
)
