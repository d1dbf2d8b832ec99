"""Tool calls in the text of answers: where they begin, and what they say.

vLLM's own parsers and our `call_readers` read complete calls; this module finds them in text as it arrives.
It knows no engine and no dialect.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from anytime_server.errors import InvalidRequest, NotSupported, UnusableOption, first_line
from anytime_server.reasoning import num_begun
from anytime_server.text.call_readers import ToolCall
from anytime_server.text.json_calls import JsonCalls
from anytime_server.text.model import Model
from anytime_server.text.tokenizer import ModelTokenizer
from anytime_server.text.tool_formats import TOOL_FORMATS, ToolFormat, detect_tool_format

if TYPE_CHECKING:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.tokenizers import TokenizerLike
    from vllm.tool_parsers import ToolParser
    from vllm.tool_parsers.utils import Tool

logger = logging.getLogger(__name__)


class ModelTools:
    """How one model writes tool calls. Made once; vLLM is imported with the first parser."""

    start_ids: frozenset[int]
    """Tokens that begin calls; empty if no single token does. Thinking ends before such a token."""
    keeps_special_tokens: bool
    """Whether special tokens must stay in the text for calls to be found."""

    def __init__(self, tokenizer: ModelTokenizer, *, parser: str) -> None:
        """
        Args:
            parser: name of one of vLLM's tool parsers.
        """
        self.parser = parser
        self.tokenizer = tokenizer
        self.format: ToolFormat | None = TOOL_FORMATS.get(parser)
        if self.format is None:
            self.start_ids, self.keeps_special_tokens = frozenset(), True
            return
        markers = (self.format.start, self.format.end, self.format.each)
        ids = [tokenizer.token_id(marker) for marker in markers if marker is not None]
        self.start_ids = frozenset(i for i in ids[:1] if i is not None)
        self.keeps_special_tokens = any(i is not None and not tokenizer.decode([i]) for i in ids)

    @classmethod
    def of(cls, model: Model, *, parser: str | None) -> ModelTools | None:
        """How this model writes calls; None where its template shows no tools, or its format is unknown.

        Args:
            parser: name of one of vLLM's parsers, imported if its format is not known here; None detects
                the format by chat template and vocabulary.

        Raises:
            UnusableOption: there is no such parser, or it cannot read this model's calls.
        """
        if parser is not None:
            _check(parser, model.tokenizer)
        if not model.takes_tools:
            return None
        parser = parser or model.family.tool_parser or detect_tool_format(model.tokenizer)
        return cls(model.tokenizer, parser=parser) if parser is not None else None

    @cached_property
    def imported(self) -> tuple[type[ToolParser], type[ChatCompletionRequest]]:
        """vLLM's parser and the request type that it takes."""
        return _import(self.parser)


class ToolCallParser:
    """Parses complete calls of given tools out of text."""

    in_own_syntax = True
    """Whether calls are in the model's own syntax."""

    def __init__(
        self, model_tools: ModelTools, tools: Sequence[dict[str, Any]], *, max_calls: int | None = None
    ) -> None:
        """May take seconds, with the first of a process: it imports vLLM, where vLLM reads the calls.

        Args:
            tools: functions that the model may call, each `{"type": "function", "function": {...}}`.
            max_calls: calls of one answer that are kept; None for all.

        Raises:
            InvalidRequest: a tool is malformed.
            NotSupported: vLLM reads the calls, and is not installed.
        """
        self.start_ids = model_tools.start_ids
        self.keeps_special_tokens = model_tools.keeps_special_tokens
        self.format = model_tools.format
        self.max_calls = max_calls
        self._model_tools = model_tools
        self._read = None if self.format is None else self.format.read
        if self._read is not None:
            return
        try:
            self._parser_class, request_class = model_tools.imported
        except ImportError as error:
            raise NotSupported("tools need vLLM, which is not installed here", field="tools") from error
        try:
            self._request = request_class.model_validate(
                {"messages": [], "tools": list(tools), "tool_choice": "auto"}
            )
        except ValidationError as error:
            fault = error.errors()[0]
            field = ".".join(str(part) for part in fault["loc"]) or "tools"
            raise InvalidRequest(f"{field}: {fault['msg']}", field=field) from error

    def begins_call(self, text: str) -> bool:
        """Whether an answer begins with a call."""
        return self.format is not None and text.lstrip().startswith(self.format.start)

    def reader(self) -> ToolCallReader:
        return ToolCallReader(self)

    def parse(self, text: str) -> tuple[str, list[ToolCall]]:
        """Text outside of calls, and the calls; all of the text where a call is malformed.

        Raises:
            Exception: of any kind: vLLM's parser failed.
        """
        rest, calls = self._by_vllm(text) if self._read is None else ("", self._read(text))
        return (rest, calls) if calls and all(map(_is_whole, calls)) else (text, [])

    def _by_vllm(self, text: str) -> tuple[str, list[ToolCall]]:
        parser = _make(self._parser_class, self._model_tools.tokenizer, self._request.tools or [])
        found = parser.extract_tool_calls(text, self._request)
        calls = [
            ToolCall(name=call.function.name, arguments=call.function.arguments) for call in found.tool_calls
        ]
        return found.content or "", calls


CallParser = ToolCallParser | JsonCalls


class ToolCallReader:
    """Splits the text of one answer into text to show and tool calls.

    Text is shown up to the first marker of a call; the text after it is held back until the end. A call
    that is truncated, or that its parser cannot read, is text.
    """

    def __init__(self, parser: ToolCallParser) -> None:
        self.num_failures = 0
        """Times that the parser failed."""
        self._parser = parser
        self._held = ""
        self._blank = ""
        """White space before anything else, held back: before a call it is no text."""
        self._has_text = False

    def push(self, text: str) -> str:
        """Text that can be shown now; may be empty."""
        self._held += text
        if self._parser.format is None:
            return ""
        start = self._parser.format.start
        end = self._held.find(start)
        if end == -1:
            end = len(self._held) - num_begun(self._held, (start,))
        shown, self._held = self._held[:end], self._held[end:]
        return self._show(shown)

    def finish(self, blocks: Sequence[str] = ()) -> tuple[str, list[ToolCall]]:
        """The rest of the text, and the calls. White space around calls is dropped. May take long.

        Args:
            blocks: further blocks of calls, which were no part of the text.
        """
        rest, calls = self._split()
        for block in blocks:
            unread, found = self._read(block)
            rest, calls = rest + unread, calls + found
        text = self._show(rest)
        if not calls:
            text, self._blank = text + self._blank, ""
        return text, calls[: self._parser.max_calls]

    def _show(self, text: str) -> str:
        text = self._blank + text
        self._has_text = self._has_text or bool(text.strip())
        shown, self._blank = (text, "") if self._has_text else ("", text)
        return shown

    def _split(self) -> tuple[str, list[ToolCall]]:
        held, self._held = self._held, ""
        tool_format = self._parser.format
        if tool_format is None:
            return self._parse(held)
        calls: list[ToolCall] = []
        text, done = "", 0
        for begin, end in tool_format.blocks(held):
            rest, found = self._read(held[begin:end])
            if found:
                text += held[done:begin] + rest
                calls += found
                done = end
        text += held[done:]
        return ("" if calls and text.isspace() else text), calls

    def _read(self, block: str) -> tuple[str, list[ToolCall]]:
        """All calls of a block, or the block as text."""
        each = None if self._parser.format is None else self._parser.format.each
        rest, calls = self._parse(block)
        return (rest, calls) if each is None or len(calls) == block.count(each) else (block, [])

    def _parse(self, text: str) -> tuple[str, list[ToolCall]]:
        try:
            return self._parser.parse(text)
        except Exception as error:  # whatever a parser fails on, the text is there to be shown
            self.num_failures += 1
            logger.warning("a tool parser failed; the call is shown as text: %r", error)
            return text, []


def _is_whole(call: ToolCall) -> bool:
    try:
        return bool(call.name) and isinstance(json.loads(call.arguments), dict)
    except (ValueError, RecursionError):
        return False


def _check(name: str, tokenizer: ModelTokenizer) -> None:
    tool_format = TOOL_FORMATS.get(name)
    if tool_format is not None:
        if missing := tool_format.missing(tokenizer):
            raise UnusableOption(f"--tool-parser: {name} needs {missing} in the model's vocabulary")
        return
    try:
        parser_class, _ = _import(name)
    except ImportError as error:
        raise UnusableOption(f"--tool-parser: {name} needs vLLM, which is not installed") from error
    except KeyError as error:
        raise UnusableOption(
            f"--tool-parser: there is no parser {name!r}; there are {', '.join(TOOL_FORMATS)} "
            "and vLLM's others"
        ) from error
    try:
        _make(parser_class, tokenizer, [])
    except Exception as error:
        raise UnusableOption(
            f"--tool-parser: {name} does not suit this model: {first_line(error)}"
        ) from error


def _import(name: str) -> tuple[type[ToolParser], type[ChatCompletionRequest]]:
    """One of vLLM's parsers and the request type that it takes; takes seconds if vLLM is not imported yet.

    Raises:
        ImportError: vLLM is not installed.
        KeyError: vLLM has no such parser.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # vLLM's and its libraries'
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.tool_parsers import ToolParserManager

        parser_class = ToolParserManager.get_tool_parser(name)
    for name in ("vllm.tool_parsers", "vllm.parser"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # a stack trace for every malformed call
    return parser_class, ChatCompletionRequest


def _make(parser_class: type[ToolParser], tokenizer: ModelTokenizer, tools: Sequence[Tool]) -> ToolParser:
    # Parsers need none of vLLM's additions to tokenizers, which its types ask for.
    return parser_class(cast("TokenizerLike", tokenizer.hugging_face), list(tools))
