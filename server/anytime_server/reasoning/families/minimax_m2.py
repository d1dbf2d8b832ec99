"""MiniMax-M2, which thinks again between tool calls, and M1."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="minimax-m2",
    models="MiniMax-M1, MiniMax-M2",
    signs=Signs(model_types=("minimax", "minimax_m1", "minimax_m2", "MiniMaxM1", "MiniMaxText01")),
    texts=thinking_between("<think>", "</think>", no_thinking="<think>\n\n</think>\n\n"),
    sampling={"temperature": 1.0, "top_p": 0.95, "top_k": 40},
    tool_parser="minimax_m2",
)
