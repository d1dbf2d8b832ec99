"""Phi-4-reasoning: asked to think by its system message."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="phi-4-reasoning",
    models="Phi-4-reasoning, -reasoning-plus, -mini-reasoning",
    signs=Signs(model_types=("phi3", "phi4"), template=("<think>",)),
    texts=thinking_between("<think>", "</think>"),
    sampling={"temperature": 0.8, "top_p": 0.95, "top_k": 50},
    note="The system message of the chat template asks for the thinking; one of your own should, too.",
)
