"""Cohere's Command models that think."""

from dataclasses import replace

from anytime_server.reasoning.family import Family, Switch, think_tags

FAMILY = Family(
    name="command-a-reasoning",
    models="Command A Reasoning, Command R7B",
    texts=think_tags(
        "<|START_THINKING|>",
        "<|END_THINKING|>",
        answer_lead_in="",
        answer_start="<|START_RESPONSE|>",
        answer_end="<|END_RESPONSE|>",
        no_thinking="<|START_THINKING|><|END_THINKING|><|START_RESPONSE|>",
    ),
    tokens=("<|START_THINKING|>", "<|END_THINKING|>"),
    template=("<|START_THINKING|>",),
    switch=Switch(on={"reasoning": True}, off={"reasoning": False}),
    sampling={"temperature": 0.6, "top_p": 0.95},
    tool_parser="cohere_command4",
)
FAMILY_MOE = replace(
    FAMILY,
    name="cohere-2-moe",
    models="Cohere2 MoE",
    texts=think_tags(
        "<|START_THINKING|>",
        "<|END_THINKING|>",
        answer_lead_in="",
        answer_start="<|START_TEXT|>",
        answer_end="<|END_TEXT|>",
        no_thinking="<|START_THINKING|><|END_THINKING|><|START_TEXT|>",
    ),
    tokens=(*FAMILY.tokens, "<|START_TEXT|>"),
    template=(*FAMILY.template, "<|START_TEXT|>"),
)
