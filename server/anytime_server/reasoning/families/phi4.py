"""Phi-4-reasoning: asked to think by its system message."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="phi-4-reasoning",
    models="Phi-4-reasoning, -reasoning-plus, -mini-reasoning",
    texts=think_tags(),
    template=("<think>",),
    model_types=("phi3", "phi4"),
    sampling={"temperature": 0.8, "top_p": 0.95, "top_k": 50},
    note="The system message of the chat template asks for the thinking; one of your own should, too.",
)
