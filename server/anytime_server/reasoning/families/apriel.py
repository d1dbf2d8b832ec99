"""Apriel, which thinks in plain words."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="apriel",
    models="Apriel-1.5-15b-Thinker, Apriel-1.6-15b-Thinker",
    signs=Signs(template=("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]")),
    texts=thinking_between(
        "Here are my reasoning steps:\n",
        "[BEGIN FINAL RESPONSE]",
        answer_lead_in="\n",
        answer_end="[END FINAL RESPONSE]",
    ),
    sampling={"temperature": 0.6},
    tool_parser="apriel",
)
