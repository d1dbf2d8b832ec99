"""GLM-4.5 to GLM-5."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="glm-4.5",
    models="GLM-4.5, 4.6, 4.7, GLM-5",
    texts=think_tags(no_thinking="<think></think>"),
    tokens=("<|assistant|>", "[gMASK]"),
    template=("<think>", "<|assistant|>", "enable_thinking"),
    sampling={"temperature": 0.6, "top_p": 0.95},
)
