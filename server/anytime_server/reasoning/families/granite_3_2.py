"""Granite 3.2, which thinks in plain words."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="granite-3.2",
    models="Granite-3.2",
    signs=Signs(template=("<|start_of_role|>", "Here is my thought process")),
    texts=thinking_between(
        "Here is my thought process:",
        "Here is my response:",
        think_end_variants=("Here's my response:",),
        answer_lead_in="",
        no_thinking="",
    ),
    note="Its thinking begins and ends with plain sentences, which an answer may contain, too.",
)
