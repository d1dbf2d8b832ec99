"""Models of no known family that think between `<think>` and `</think>`."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="think-tags",
    models="any other model that thinks between <think> and </think>",
    signs=Signs(template=("<think>",), opens_or_switches=True),
    texts=thinking_between("<think>", "</think>"),
    note="Its family is not known; its chat template mentions <think>.",
)
