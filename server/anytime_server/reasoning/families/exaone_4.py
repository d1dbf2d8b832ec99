"""EXAONE-4, which thinks on request."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="exaone-4",
    models="EXAONE-4.0",
    signs=Signs(template=("<think>", "[|assistant|]")),
    texts=thinking_between("<think>", "</think>", no_thinking="<think>\n\n</think>\n\n"),
    sampling={"temperature": 0.6, "top_p": 0.95},
)
