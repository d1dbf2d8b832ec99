"""DeepSeek-V3.2, which thinks on request and comes without a chat template."""

from dataclasses import replace

from anytime_server.reasoning.families import deepseek_v3_1
from anytime_server.reasoning.family import Signs

FAMILY = replace(
    deepseek_v3_1.FAMILY,
    name="deepseek-v3.2",
    models="DeepSeek-V3.2",
    signs=Signs(model_types=("deepseek_v32",), tokens=deepseek_v3_1.FAMILY.signs.tokens),
    tool_parser="deepseek_v32",
    note="It comes without a chat template: give one with --chat-template.",
)
