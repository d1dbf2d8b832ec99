"""SmolLM3, which thinks unless its system message says otherwise."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="smollm3",
    models="SmolLM3-3B",
    signs=Signs(model_types=("smollm3",), template=("<think>", "/no_think", "enable_thinking")),
    texts=thinking_between("<think>", "</think>", no_thinking="<think>\n\n</think>\n"),
    sampling={"temperature": 0.6, "top_p": 0.95},
)
