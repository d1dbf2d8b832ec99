"""How model families write tool calls, who reads them, and how a format is recognised."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from anytime_server.text.call_readers import ToolCall, read_harmony, read_json_list, read_solar
from anytime_server.text.tokenizer import ModelTokenizer

_JSON_START = re.compile(r"\{|\[\s*\{")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFormat:
    """Markers around tool calls."""

    start: str
    """Begins a block of calls."""
    end: str | None
    """Ends it; None where the JSON does."""
    each: str | None = None
    """Begins each of several calls in a block; None where a block is one call, or is JSON."""
    template: tuple[str, ...] = ()
    """Texts which, all present in a chat template, identify the family; empty to be named by a family."""
    is_token: bool = False
    """Whether the parser requires `start` and `end` in the vocabulary."""
    read: Callable[[str], list[ToolCall]] | None = None
    """Our own reader of a block; None for vLLM's parser."""

    def missing(self, tokenizer: ModelTokenizer) -> str:
        """The first marker that must be a token and is none; empty if all are there."""
        markers = (self.start, self.end) if self.is_token else ()
        return next((text for text in markers if text and tokenizer.token_id(text) is None), "")

    def blocks(self, text: str) -> Iterator[tuple[int, int]]:
        """Begin and end of each complete block in a text."""
        begin = text.find(self.start)
        while begin != -1:
            inside = begin + len(self.start)
            end = self._end(text, inside)
            if end is not None:
                yield begin, end
            begin = text.find(self.start, end or inside)

    def _end(self, text: str, inside: int) -> int | None:
        if self.end is not None:
            at = text.find(self.end, inside)
            return at + len(self.end) if at != -1 else None
        next_start = text.find(self.start, inside)
        opening = _JSON_START.search(text, inside, next_start if next_start != -1 else len(text))
        if opening is None:
            return None
        try:
            return json.JSONDecoder().raw_decode(text, opening.start())[1]
        except (ValueError, RecursionError):
            return None


_DEEPSEEK_START, _DEEPSEEK_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_DEEPSEEK_EACH = "<｜tool▁call▁begin｜>"
_TAGS = ToolFormat(start="<tool_call>", end="</tool_call>")
_MINIMAX_M3 = "]<]minimax[>["

TOOL_FORMATS: dict[str, ToolFormat] = {
    "qwen3_coder": replace(_TAGS, template=("<tool_call>", "<function=")),
    "glm45": replace(_TAGS, template=("<tool_call>", "<arg_key>")),
    "hermes": replace(_TAGS, template=("<tool_call>",)),
    "deepseek_v3": ToolFormat(
        start=_DEEPSEEK_START,
        end=_DEEPSEEK_END,
        each=_DEEPSEEK_EACH,
        template=(_DEEPSEEK_START, "```json"),
        is_token=True,
    ),
    "deepseek_v31": ToolFormat(
        start=_DEEPSEEK_START,
        end=_DEEPSEEK_END,
        each=_DEEPSEEK_EACH,
        template=(_DEEPSEEK_START,),
        is_token=True,
    ),
    "mistral": ToolFormat(start="[TOOL_CALLS]", end=None, template=("[TOOL_CALLS]",), is_token=True),
    "kimi_k2": ToolFormat(
        start="<|tool_calls_section_begin|>",
        end="<|tool_calls_section_end|>",
        each="<|tool_call_begin|>",
        template=("<|tool_calls_section_begin|>",),
    ),
    "lfm2": ToolFormat(
        start="<|tool_call_start|>", end="<|tool_call_end|>", template=("<|tool_call_start|>",), is_token=True
    ),
    "minicpm5": ToolFormat(
        start="<function name=", end="</function>", template=("<function name=", "<param name=")
    ),
    "toolcall_json": ToolFormat(
        start="<TOOLCALL>", end="</TOOLCALL>", template=("<TOOLCALL>",), read=read_json_list
    ),
    # Named by families alone.
    # Its end, <|tools_suffix|>, is the end of the turn.
    "apertus": ToolFormat(start="<|tools_prefix|>", end=None, read=read_json_list),
    "apriel": ToolFormat(start="<tool_calls>", end="</tool_calls>", read=read_json_list),
    "cohere_command4": ToolFormat(start="<|START_ACTION|>", end="<|END_ACTION|>", read=read_json_list),
    "deepseek_v32": ToolFormat(start="<｜DSML｜function_calls>", end="</｜DSML｜function_calls>"),
    "deepseek_v4": ToolFormat(start="<｜DSML｜tool_calls>", end="</｜DSML｜tool_calls>"),
    "ernie45": _TAGS,
    "gemma4": ToolFormat(start="<|tool_call>", end="<tool_call|>"),
    "granite": ToolFormat(start="<|tool_call|>", end=None, read=read_json_list),
    "hunyuan_a13b": ToolFormat(start="<tool_calls>", end="</tool_calls>"),
    "hy_v3": ToolFormat(
        start="<tool_calls:opensource>", end="</tool_calls:opensource>", each="<tool_call:opensource>"
    ),
    "kimi_k3": ToolFormat(start="<|open|>tools<|sep|>", end="<|close|>tools<|sep|>", each="<|open|>call "),
    "ling3": _TAGS,
    "minimax_m2": ToolFormat(start="<minimax:tool_call>", end="</minimax:tool_call>", each="<invoke "),
    "minimax_m3": ToolFormat(
        start=f"{_MINIMAX_M3}<tool_call>",
        end=f"{_MINIMAX_M3}</tool_call>",
        each=f"{_MINIMAX_M3}<invoke ",
    ),
    "muse_glimmer": ToolFormat(
        start="<atem:function_calls>", end="</atem:function_calls>", each="<atem:invoke "
    ),
    "olmo3": ToolFormat(start="<function_calls>", end="</function_calls>"),
    "openai": ToolFormat(start="<|channel|>commentary to=", end="<|call|>", read=read_harmony),
    "poolside_v1": _TAGS,
    "seed_oss": ToolFormat(start="<seed:tool_call>", end="</seed:tool_call>"),
    "solar_open": ToolFormat(
        start="<|tool_calls|>", end="<|calls|>", each="<|tool_call:begin|>", read=read_solar
    ),
    "step3p5": _TAGS,
}
"""By the name of vLLM's parser, or our own. The first whose template texts are in a chat template is the
model's."""

_RECOGNISED_BY_VOCABULARY = ("deepseek_v3", "mistral", "hermes")


def detect_tool_format(tokenizer: ModelTokenizer) -> str | None:
    """Name of the format that a model's chat template, or else its vocabulary, points to, or None."""
    template = tokenizer.chat.text_with_tools
    for name, tool_format in TOOL_FORMATS.items():
        if tool_format.template and all(text in template for text in tool_format.template):
            return name if not tool_format.missing(tokenizer) else None
    for name in _RECOGNISED_BY_VOCABULARY:
        tool_format = TOOL_FORMATS[name]
        if tokenizer.token_id(tool_format.start) is not None and not tool_format.missing(tokenizer):
            return name
    return None
