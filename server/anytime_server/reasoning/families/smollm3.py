"""SmolLM3, which thinks unless its system message says otherwise."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="smollm3",
    models="SmolLM3-3B",
    texts=think_tags(no_thinking="<think>\n\n</think>\n"),
    template=("<think>", "/no_think", "enable_thinking"),
    model_types=("smollm3",),
    sampling={"temperature": 0.6, "top_p": 0.95},
)
