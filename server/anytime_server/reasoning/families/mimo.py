"""MiMo."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="mimo",
    models="MiMo-7B-RL, MiMo-VL, MiMo-V2-Flash",
    signs=Signs(
        model_types=("mimo", "mimo_v2", "mimo_v2_flash", "qwen2_5_vl_mimo"),
        tokens=("<think>", "</think>", "<|im_start|>"),
    ),
    texts=thinking_between("<think>", "</think>", no_thinking="<think>\n\n</think>\n\n"),
    sampling={"temperature": 0.6, "top_p": 0.95},
)
