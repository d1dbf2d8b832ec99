"""Seed-OSS, which was trained to watch its budget."""

from anytime_server.reasoning.family import Family, Signs, Switch, thinking_between

FAMILY = Family(
    name="seed-oss",
    models="Seed-OSS-36B-Instruct",
    signs=Signs(template=("<seed:think>",)),
    texts=thinking_between(
        "<seed:think>",
        "</seed:think>",
        # The sentence with which the model itself ends its thinking when the budget is used up.
        truncation="\n<seed:cot_budget_reflect>I have exhausted my token budget, and now I will start "
        "answering the question.</seed:cot_budget_reflect>\n",
        answer_lead_in="",
        no_thinking="<seed:think>\n<seed:cot_budget_reflect>The current thinking budget is 0, so I will "
        "directly start answering the question.</seed:cot_budget_reflect>\n</seed:think>",
    ),
    switch=Switch(off={"thinking_budget": 0}),
    sampling={"temperature": 1.1, "top_p": 0.95},
    tool_parser="seed_oss",
)
