"""Models that do not think."""

from anytime_server.reasoning.family import Family
from anytime_server.reasoning.format import ReasoningTexts

FAMILY = Family(
    name="no-thinking",
    models="any model that does not think",
    texts=ReasoningTexts(think_start="", think_end="", truncation="", answer_lead_in=""),
    note="It does not think: every budget is 0.",
)
