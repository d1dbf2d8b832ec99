"""EXAONE-4, which thinks on request."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="exaone-4",
    models="EXAONE-4.0",
    texts=think_tags(no_thinking="<think>\n\n</think>\n\n"),
    template=("<think>", "[|assistant|]"),
    sampling={"temperature": 0.6, "top_p": 0.95},
)
