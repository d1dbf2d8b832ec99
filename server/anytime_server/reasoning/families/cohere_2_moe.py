"""Cohere2 MoE, whose answers have markers of their own."""

from dataclasses import replace

from anytime_server.reasoning.families import command_a_reasoning
from anytime_server.reasoning.family import Signs, thinking_between

FAMILY = replace(
    command_a_reasoning.FAMILY,
    name="cohere-2-moe",
    models="Cohere2 MoE",
    signs=Signs(
        tokens=("<|START_THINKING|>", "<|END_THINKING|>", "<|START_TEXT|>"),
        template=("<|START_THINKING|>", "<|START_TEXT|>"),
    ),
    texts=thinking_between(
        "<|START_THINKING|>",
        "<|END_THINKING|>",
        answer_lead_in="",
        answer_start="<|START_TEXT|>",
        answer_end="<|END_TEXT|>",
        no_thinking="<|START_THINKING|><|END_THINKING|><|START_TEXT|>",
    ),
)
