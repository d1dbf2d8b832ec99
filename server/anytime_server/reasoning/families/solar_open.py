"""Solar-Open, whose thinking and answer are messages of their own."""

from anytime_server.reasoning.channels import ChannelTexts, Part
from anytime_server.reasoning.family import Family, Signs, Switch, thinking_between

FAMILY = Family(
    name="solar-open",
    models="Solar-Open-100B",
    signs=Signs(template=("<|think|>", "<|begin|>assistant")),
    texts=thinking_between(
        "<|think|>",
        "<|end|>",
        answer_lead_in="",
        answer_start="<|begin|>assistant<|content|>",
        answer_start_with_tools="<|begin|>assistant",
        no_thinking="<|content|>",
    ),
    channels=ChannelTexts(
        opens=("<|begin|>", "<|content|>", "<|think|>", "<|tool_calls|>"),
        closes=("<|content|>", "<|think|>", "<|tool_calls|>"),
        ends=("<|end|>", "<|calls|>", "<|flush|>"),
        headers={
            r"<\|content\|>$": Part.TEXT,
            r"<\|think\|>$": Part.THINKING,
            r"<\|tool_calls\|>$": Part.CALL,
        },
        other_headers=None,
    ),
    switch=Switch(off={"reasoning_effort": "minimal"}),
    sampling={"temperature": 0.8, "top_p": 0.95},
    tool_parser="solar_open",
)
