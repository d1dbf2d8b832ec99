"""Hunyuan-A13B, whose tags are ordinary text."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="hunyuan-a13b",
    models="Hunyuan-A13B",
    texts=think_tags(
        "<think>\n",
        "\n</think>\n",
        answer_lead_in="",
        answer_start="<answer>\n",
        answer_end="\n</answer>",
        no_thinking="<think>\n\n</think>\n<answer>\n",
    ),
    model_types=("hunyuan_v1_moe", "hunyuan_v1_dense", "hunyuan"),
    sampling={"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05},
    tool_parser="hunyuan_a13b",
)
