"""Hunyuan 3 and 4, whose tags carry a suffix."""

from anytime_server.reasoning.family import Family, Signs, Switch, thinking_between

FAMILY = Family(
    name="hy3",
    models="Hy3, Hy4",
    signs=Signs(template=("hy_Assistant", "think")),
    texts=thinking_between(
        "<think:opensource>", "</think:opensource>", no_thinking="<think:opensource></think:opensource>"
    ),
    switch=Switch(on={"reasoning_effort": "high"}, off={"reasoning_effort": "no_think"}),
    efforts={
        "minimal": "low",
        "low": "low",
        "medium": "high",
        "high": "high",
        "xhigh": "high",
        "max": "high",
    },
    tool_parser="hy_v3",
)
