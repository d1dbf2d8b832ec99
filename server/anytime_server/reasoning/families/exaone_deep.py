"""EXAONE-Deep, which writes `<thought>`."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="exaone-deep",
    models="EXAONE-Deep",
    texts=think_tags("<thought>", "</thought>", no_thinking="<thought>\n\n</thought>\n\n"),
    template=("<thought>",),
    sampling={"temperature": 0.6, "top_p": 0.95},
)
