"""How model families write tool calls, as vLLM's parsers read them, and how a family is recognised."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

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
    template: tuple[str, ...]
    """Texts which, all present in a chat template, identify the family."""
    is_token: bool = False
    """Whether the parser requires `start` and `end` in the vocabulary."""

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

TOOL_FORMATS: dict[str, ToolFormat] = {
    "qwen3_coder": ToolFormat(
        start="<tool_call>", end="</tool_call>", template=("<tool_call>", "<function=")
    ),
    "glm45": ToolFormat(start="<tool_call>", end="</tool_call>", template=("<tool_call>", "<arg_key>")),
    "hermes": ToolFormat(start="<tool_call>", end="</tool_call>", template=("<tool_call>",)),
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
}
"""By the name of vLLM's parser. The first whose template texts are in a chat template is the model's."""

_RECOGNISED_BY_VOCABULARY = ("deepseek_v3", "mistral", "hermes")


def detect_tool_format(tokenizer: ModelTokenizer) -> str | None:
    """Name of the format that a model's chat template, or else its vocabulary, points to, or None."""
    template = tokenizer.chat.text_with_tools
    for name, tool_format in TOOL_FORMATS.items():
        if all(text in template for text in tool_format.template):
            return name if not tool_format.missing(tokenizer) else None
    for name in _RECOGNISED_BY_VOCABULARY:
        tool_format = TOOL_FORMATS[name]
        if tokenizer.token_id(tool_format.start) is not None and not tool_format.missing(tokenizer):
            return name
    return None
