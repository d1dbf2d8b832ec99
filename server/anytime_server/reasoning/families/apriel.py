"""Apriel, which thinks in plain words."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="apriel",
    models="Apriel-1.5-15b-Thinker, Apriel-1.6-15b-Thinker",
    texts=think_tags(
        "Here are my reasoning steps:\n",
        "[BEGIN FINAL RESPONSE]",
        answer_lead_in="\n",
        answer_end="[END FINAL RESPONSE]",
    ),
    template=("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"),
    sampling={"temperature": 0.6},
    tool_parser="apriel",
)
