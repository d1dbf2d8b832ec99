"""Qwen3: models that think unless they are asked not to."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="qwen3",
    models="Qwen3 (hybrid), Qwen3.5, Qwen3.6",
    texts=think_tags(no_thinking="<think>\n\n</think>\n\n"),
    tokens=("<think>", "</think>", "<|im_start|>"),
    template=("<think>", "enable_thinking"),
    sampling={"temperature": 0.6, "top_p": 0.95, "top_k": 20},
)
