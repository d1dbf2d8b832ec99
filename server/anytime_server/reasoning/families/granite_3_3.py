"""Granite 3.3, whose tags are ordinary text."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="granite-3.3",
    models="Granite-3.3",
    signs=Signs(template=("<|start_of_role|>", "<response></response>", "thinking")),
    texts=thinking_between(
        "<think>",
        "</think>",
        answer_lead_in="",
        answer_start="<response>",
        answer_end="</response>",
        no_thinking="",
    ),
    tool_parser="granite",
)
