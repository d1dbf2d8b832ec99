"""MiMo."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="mimo",
    models="MiMo-7B-RL, MiMo-VL, MiMo-V2-Flash",
    texts=think_tags(no_thinking="<think>\n\n</think>\n\n"),
    tokens=("<think>", "</think>", "<|im_start|>"),
    model_types=("mimo", "mimo_v2", "mimo_v2_flash", "qwen2_5_vl_mimo"),
    sampling={"temperature": 0.6, "top_p": 0.95},
)
