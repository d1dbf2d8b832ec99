"""QwQ and the Qwen3 models that always think."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="qwen3-thinking",
    models="QwQ, Qwen3-Thinking-2507, Qwen3-Next-Thinking",
    signs=Signs(
        model_types=("qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next"),
        tokens=("<think>", "</think>", "<|im_start|>"),
        template=("<think>",),
        opens_or_switches=True,
    ),
    texts=thinking_between("<think>", "</think>"),
    sampling={"temperature": 0.6, "top_p": 0.95, "top_k": 20},
    note="The card advises against greedy sampling: it repeats itself endlessly.",
)
