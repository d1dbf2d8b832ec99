"""GLM-4.5 to GLM-5."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="glm-4.5",
    models="GLM-4.5, 4.6, 4.7, GLM-5",
    signs=Signs(
        tokens=("<|assistant|>", "[gMASK]"), template=("<think>", "<|assistant|>", "enable_thinking")
    ),
    texts=thinking_between("<think>", "</think>", no_thinking="<think></think>"),
    sampling={"temperature": 0.6, "top_p": 0.95},
)
