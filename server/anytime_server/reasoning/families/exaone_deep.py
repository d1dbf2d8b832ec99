"""EXAONE-Deep, which writes `<thought>`."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="exaone-deep",
    models="EXAONE-Deep",
    signs=Signs(template=("<thought>",)),
    texts=thinking_between("<thought>", "</thought>", no_thinking="<thought>\n\n</thought>\n\n"),
    sampling={"temperature": 0.6, "top_p": 0.95},
)
