"""Calls of tools in the text of answers: where they begin, and what they say.

vLLM's own parsers read complete calls; this module finds them in the text as it comes. It knows no
engine and no dialect.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from anytime_server.errors import InvalidRequest, NotSupported, UnusableOption
from anytime_server.text.model import Model
from anytime_server.text.tokenizer import ModelTokenizer

if TYPE_CHECKING:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.tokenizers import TokenizerLike
    from vllm.tool_parsers import ToolParser
    from vllm.tool_parsers.utils import Tool

_JSON_START = re.compile(r"\{|\[\s*\{")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    name: str
    arguments: str
    """Text of a JSON object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """How models write their calls, as one of vLLM's parsers reads it."""

    start: str
    """Begins a block of calls."""
    end: str | None
    """Ends it; None where the JSON does."""
    each: str | None = None
    """Begins each of several calls in a block; None where a block is one call, or is JSON."""
    template: tuple[str, ...]
    """What, all present in a chat template, tells the family."""
    is_token: bool = False
    """Whether the parser wants `start` and `end` in the vocabulary."""

    def missing(self, tokenizer: ModelTokenizer) -> str:
        """The first marker that would have to be a token and is none, or nothing."""
        markers = (self.start, self.end) if self.is_token else ()
        return next((text for text in markers if text and tokenizer.token_id(text) is None), "")

    def blocks(self, text: str) -> Iterator[tuple[int, int]]:
        """From where to where each complete block goes."""
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

# The first whose texts are in the chat template is the model's.
_FAMILIES: dict[str, _Family] = {
    "qwen3_coder": _Family(start="<tool_call>", end="</tool_call>", template=("<tool_call>", "<function=")),
    "glm45": _Family(start="<tool_call>", end="</tool_call>", template=("<tool_call>", "<arg_key>")),
    "hermes": _Family(start="<tool_call>", end="</tool_call>", template=("<tool_call>",)),
    "deepseek_v3": _Family(
        start=_DEEPSEEK_START,
        end=_DEEPSEEK_END,
        each=_DEEPSEEK_EACH,
        template=(_DEEPSEEK_START, "```json"),
        is_token=True,
    ),
    "deepseek_v31": _Family(
        start=_DEEPSEEK_START,
        end=_DEEPSEEK_END,
        each=_DEEPSEEK_EACH,
        template=(_DEEPSEEK_START,),
        is_token=True,
    ),
    "mistral": _Family(start="[TOOL_CALLS]", end=None, template=("[TOOL_CALLS]",), is_token=True),
}
_TOLD_BY_VOCABULARY = ("deepseek_v3", "mistral", "hermes")


class ToolCallReader:
    """Splits the text of one answer into what is shown and the calls in it.

    Text is shown up to the first marker of a call, and what follows is held back until the end. A call
    that is cut off, or that its parser cannot read, is text.
    """

    def __init__(self, parse: Callable[[str], tuple[str, list[ToolCall]]], family: _Family | None) -> None:
        """
        Args:
            parse: from text to what of it is no call, and the calls.
            family: None holds all text back.
        """
        self._parse = parse
        self._family = family
        self._held = ""

    def push(self, text: str) -> str:
        """Text that can be shown now; may be empty."""
        self._held += text
        if self._family is None:
            return ""
        start = self._family.start
        end = self._held.find(start)
        if end == -1:
            end = len(self._held)
            possible = range(max(0, end - len(start) + 1), end)
            end = next((i for i in possible if start.startswith(self._held[i:])), end)
        shown, self._held = self._held[:end], self._held[end:]
        return shown

    def finish(self) -> tuple[str, list[ToolCall]]:
        """What was held back but is no call, and the calls. White space around calls is dropped."""
        held, self._held = self._held, ""
        if self._family is None:
            return self._parse(held)
        calls: list[ToolCall] = []
        text, done = "", 0
        for begin, end in self._family.blocks(held):
            rest, found = self._parse(held[begin:end])
            each = self._family.each
            if found and (each is None or len(found) == held.count(each, begin, end)):
                text += held[done:begin] + rest
                calls += found
                done = end
        text += held[done:]
        return ("" if calls and text.isspace() else text), calls


class ToolParsing:
    """How the calls of one model are read. Made once; vLLM is imported with the first reader."""

    start_ids: frozenset[int]
    """Tokens that begin calls; empty if none does alone. Thinking must have ended before one."""
    keeps_special: bool
    """Whether special tokens must stay in the text for calls to be found in it."""

    def __init__(self, tokenizer: ModelTokenizer, *, parser: str) -> None:
        """
        Args:
            parser: one of vLLM's, by its name there.
        """
        self.parser = parser
        self._tokenizer = tokenizer
        self._family = _FAMILIES.get(parser)
        if self._family is None:
            self.start_ids, self.keeps_special = frozenset(), True
            return
        markers = (self._family.start, self._family.end, self._family.each)
        ids = [tokenizer.token_id(marker) for marker in markers if marker is not None]
        self.start_ids = frozenset(i for i in ids[:1] if i is not None)
        self.keeps_special = any(i is not None and not tokenizer.decode([i]) for i in ids)

    @classmethod
    def for_model(cls, model: Model, *, parser: str | None) -> ToolParsing | None:
        """How the calls of this model are read, or None: it is told of no tools, or is of no known family.

        Args:
            parser: name of one of vLLM's, which is imported if the name is not known here; None chooses by
                what the chat template and the vocabulary have.

        Raises:
            UnusableOption: there is no such parser, or it cannot read this model's calls.
        """
        if parser is not None:
            _check(parser, model.tokenizer)
        if not model.takes_tools:
            return None
        parser = parser or _detect(model.tokenizer)
        return cls(model.tokenizer, parser=parser) if parser is not None else None

    def reader(self, tools: Sequence[dict[str, Any]]) -> ToolCallReader:
        """A reader for one answer.

        Args:
            tools: what the model may call, each `{"type": "function", "function": {...}}`.

        Raises:
            InvalidRequest: one of the tools is not written as it must be.
            NotSupported: vLLM is not installed.
        """
        try:
            parser_class, request_class = self._imported
        except ImportError as error:
            raise NotSupported("tools need vLLM, which is not installed here", field="tools") from error
        try:
            request = request_class.model_validate(
                {"messages": [], "tools": list(tools), "tool_choice": "auto"}
            )
        except ValidationError as error:
            fault = error.errors()[0]
            field = ".".join(str(part) for part in fault["loc"]) or "tools"
            raise InvalidRequest(f"{field}: {fault['msg']}", field=field) from error

        def parse(text: str) -> tuple[str, list[ToolCall]]:
            try:
                parser = _make(parser_class, self._tokenizer, request.tools or [])
                read = parser.extract_tool_calls(text, request)
                calls = [
                    ToolCall(name=one.function.name, arguments=one.function.arguments)
                    for one in read.tool_calls
                ]
                whole = all(one.name and isinstance(json.loads(one.arguments), dict) for one in calls)
            except Exception:  # whatever a parser trips over, the text is there to be shown
                return text, []
            return (read.content or "", calls) if calls and whole else (text, [])

        return ToolCallReader(parse, self._family)

    @cached_property
    def _imported(self) -> tuple[type[ToolParser], type[ChatCompletionRequest]]:
        return _import(self.parser)


def _detect(tokenizer: ModelTokenizer) -> str | None:
    template = tokenizer.tool_template
    for name, family in _FAMILIES.items():
        if all(text in template for text in family.template):
            return name if not family.missing(tokenizer) else None
    for name in _TOLD_BY_VOCABULARY:
        family = _FAMILIES[name]
        if tokenizer.token_id(family.start) is not None and not family.missing(tokenizer):
            return name
    return None


def _check(name: str, tokenizer: ModelTokenizer) -> None:
    family = _FAMILIES.get(name)
    if family is not None:
        if missing := family.missing(tokenizer):
            raise UnusableOption(f"--tool-parser: {name} needs {missing} in the model's vocabulary")
        return
    try:
        parser_class, _ = _import(name)
    except ImportError as error:
        raise UnusableOption(f"--tool-parser: {name} needs vLLM, which is not installed") from error
    except KeyError as error:
        raise UnusableOption(
            f"--tool-parser: vLLM has no parser {name!r}; it has {', '.join(_FAMILIES)} and others"
        ) from error
    try:
        _make(parser_class, tokenizer, [])
    except Exception as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnusableOption(f"--tool-parser: {name} does not suit this model: {first_line}") from error


def _import(name: str) -> tuple[type[ToolParser], type[ChatCompletionRequest]]:
    """A parser of vLLM's and the request that it reads; takes seconds if vLLM is not imported yet.

    Raises:
        ImportError: vLLM is not installed.
        KeyError: it has no such parser.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # vLLM's and its libraries'
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.tool_parsers import ToolParserManager

        parser_class = ToolParserManager.get_tool_parser(name)
    for logger in ("vllm.tool_parsers", "vllm.parser"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)  # a stack trace for every broken call
    return parser_class, ChatCompletionRequest


def _make(parser_class: type[ToolParser], tokenizer: ModelTokenizer, tools: Sequence[Tool]) -> ToolParser:
    # Of vLLM's additions to tokenizers, which its types ask for, parsers need none.
    return parser_class(cast("TokenizerLike", tokenizer.hugging_face), list(tools))
