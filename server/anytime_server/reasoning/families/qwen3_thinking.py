"""QwQ and the Qwen3 models that always think."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="qwen3-thinking",
    models="QwQ, Qwen3-Thinking-2507, Qwen3-Next-Thinking",
    texts=think_tags(),
    tokens=("<think>", "</think>", "<|im_start|>"),
    template=("<think>",),
    model_types=("qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next"),
    needs_opening=True,
    sampling={"temperature": 0.6, "top_p": 0.95, "top_k": 20},
    note="The card advises against greedy sampling: it repeats itself endlessly.",
)
