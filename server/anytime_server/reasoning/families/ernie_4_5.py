"""ERNIE-4.5-Thinking."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="ernie-4.5",
    models="ERNIE-4.5-21B-A3B-Thinking, ERNIE-4.5-VL",
    signs=Signs(
        model_types=("ernie4_5", "ernie4_5_moe", "ernie4_5_moe_vl", "ernie4_5_vl_moe"), template=("<think>",)
    ),
    texts=thinking_between(
        "<think>",
        "</think>",
        answer_lead_in="",
        answer_start="\n\n<response>\n",
        answer_end="\n</response>",
        no_thinking="<think>\n\n</think>\n\n<response>\n",
    ),
    sampling={"temperature": 0.6, "top_p": 0.95},
    tool_parser="ernie45",
)
