"""Granite 3.2, which thinks in plain words, and 3.3, whose tags are ordinary text."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY_3_2 = Family(
    name="granite-3.2",
    models="Granite-3.2",
    texts=think_tags(
        "Here is my thought process:",
        "Here is my response:",
        think_end_variants=("Here's my response:",),
        answer_lead_in="",
        no_thinking="",
    ),
    template=("<|start_of_role|>", "Here is my thought process"),
    note="Its thinking begins and ends with plain sentences, which an answer may contain, too.",
)
FAMILY_3_3 = Family(
    name="granite-3.3",
    models="Granite-3.3",
    texts=think_tags(answer_start="<response>", answer_end="</response>", answer_lead_in="", no_thinking=""),
    template=("<|start_of_role|>", "<response></response>", "thinking"),
    tool_parser="granite",
)
