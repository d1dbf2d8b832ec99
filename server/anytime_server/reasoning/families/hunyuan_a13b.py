"""Hunyuan-A13B, whose tags are ordinary text."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="hunyuan-a13b",
    models="Hunyuan-A13B",
    signs=Signs(model_types=("hunyuan_v1_moe", "hunyuan_v1_dense", "hunyuan")),
    texts=thinking_between(
        "<think>\n",
        "\n</think>\n",
        answer_lead_in="",
        answer_start="<answer>\n",
        answer_end="\n</answer>",
        no_thinking="<think>\n\n</think>\n<answer>\n",
    ),
    sampling={"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05},
    tool_parser="hunyuan_a13b",
)
