"""Qwen3: models that think unless they are asked not to."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="qwen3",
    models="Qwen3 (hybrid), Qwen3.5, Qwen3.6",
    signs=Signs(tokens=("<think>", "</think>", "<|im_start|>"), template=("<think>", "enable_thinking")),
    texts=thinking_between("<think>", "</think>", no_thinking="<think>\n\n</think>\n\n"),
    sampling={"temperature": 0.6, "top_p": 0.95, "top_k": 20},
)
