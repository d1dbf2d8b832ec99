"""Solar-Open, whose thinking and answer are messages of their own."""

from anytime_server.reasoning.family import Family, Switch, think_tags

FAMILY = Family(
    name="solar-open",
    models="Solar-Open-100B",
    texts=think_tags(
        "<|think|>",
        "<|end|>",
        answer_lead_in="",
        answer_start="<|begin|>assistant<|content|>",
        answer_start_with_tools="<|begin|>assistant",
        no_thinking="<|content|>",
    ),
    template=("<|think|>", "<|begin|>assistant"),
    switch=Switch(off={"reasoning_effort": "minimal"}),
    sampling={"temperature": 0.8, "top_p": 0.95},
    tool_parser="solar_open",
)
