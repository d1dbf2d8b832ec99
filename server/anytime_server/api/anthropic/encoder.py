"""A session's events as those of a streamed message of Anthropic's; the whole message is their fold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal
from uuid import uuid4

from anytime_server.api.anthropic.errors import error_event
from anytime_server.api.schema.outcome import anytime_object
from anytime_server.api.sse import Encoder, named_event
from anytime_server.session import events
from anytime_server.text.tool_calls import ToolCall
from anytime_server.types import IgnoredFields

Wire = dict[str, Any]
StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]
PING: Wire = {"type": "ping"}


class MessagesEncoder(Encoder[Wire]):
    """Blocks are opened by the first event that belongs in them."""

    keep_alive = named_event(PING)

    def __init__(self, *, omits_thinking: bool, ignored: IgnoredFields) -> None:
        """
        Args:
            omits_thinking: send a thinking block's signature alone.
            ignored: fields of the request that have no effect.
        """
        self._ignored = ignored
        self._omits_thinking = omits_thinking
        self._index = -1
        self._open: str | None = None
        """Type of the block that is open."""
        self._answer: events.AnswerDone | None = None
        self._signature = ""
        """Of all thinking blocks; known once the answer begins."""

    def frame(self, wire: Wire) -> bytes:
        return named_event(wire)

    def encode(self, index: int, event: events.Event) -> Iterator[Wire]:
        match event:
            case events.Started():
                yield _message_start(event)
                yield PING
            case events.ThinkingDelta():
                yield from self._open_block("thinking")
                if event.text and not self._omits_thinking:
                    yield self._delta({"type": "thinking_delta", "thinking": event.text})
            case events.AnswerStarted(provisional=False):
                self._signature = event.continuation or ""
                if event.at_tokens > 0:
                    yield from self._open_block("thinking")
                    yield from self._close_block()
            case events.AnswerDelta(provisional=False):
                if event.text:  # the client's stop sequence can leave none
                    yield from self._open_block("text")
                    yield self._delta({"type": "text_delta", "text": event.text})
            case events.AnswerDone(provisional=False):
                self._answer = event
                yield from self._close_block()
                for call in event.tool_calls:
                    yield from self._tool_use(call)
            case events.Done():
                assert self._answer is not None
                yield {
                    "type": "message_delta",
                    "delta": _stop(self._answer),
                    "usage": _usage(event.usage),
                    "anytime": anytime_object(event, self._ignored),
                }
                yield {"type": "message_stop"}
            case events.Failed(error=error):
                yield error_event(error.code, str(error))
            case _:
                return

    def fold(self, stream: Iterable[Wire]) -> Wire:
        message: Wire = {}
        content: list[Wire] = []
        json_text = ""
        for wire in stream:
            match wire["type"]:
                case "message_start":
                    message = dict(wire["message"])
                case "content_block_start":
                    content.append(dict(wire["content_block"]))
                    json_text = ""
                case "content_block_delta":
                    delta = wire["delta"]
                    if delta["type"] == "input_json_delta":
                        json_text += delta["partial_json"]
                    else:
                        field = delta["type"].removesuffix("_delta")
                        content[-1][field] += delta[field]
                case "content_block_stop":
                    if content[-1]["type"] == "tool_use":
                        content[-1]["input"] = json.loads(json_text)
                case "message_delta":
                    message |= wire["delta"] | {"usage": wire["usage"], "anytime": wire["anytime"]}
        return message | {"content": content}

    def _tool_use(self, call: ToolCall) -> Iterator[Wire]:
        block = {"type": "tool_use", "id": f"toolu_{uuid4().hex}", "name": call.name, "input": {}}
        yield from self._start_block("tool_use", block)
        yield self._delta({"type": "input_json_delta", "partial_json": call.arguments})
        yield from self._close_block()

    def _open_block(self, kind: str) -> Iterator[Wire]:
        """The event that opens a block of thinking or text, unless a block of that kind is open."""
        if self._open == kind:
            return
        yield from self._close_block()
        empty = {"type": kind, kind: ""} | ({"signature": ""} if kind == "thinking" else {})
        yield from self._start_block(kind, empty)

    def _start_block(self, kind: str, block: Wire) -> Sequence[Wire]:
        self._open = kind
        self._index += 1
        return [{"type": "content_block_start", "index": self._index, "content_block": block}]

    def _delta(self, delta: Wire) -> Wire:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _close_block(self) -> Iterator[Wire]:
        if self._open is None:
            return
        if self._open == "thinking" and self._signature:
            yield self._delta({"type": "signature_delta", "signature": self._signature})
        self._open = None
        yield {"type": "content_block_stop", "index": self._index}


def _message_start(started: events.Started) -> Wire:
    return {
        "type": "message_start",
        "message": {
            "id": started.id,
            "type": "message",
            "role": "assistant",
            "model": started.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            # How much of the prompt was cached is not known yet; the last usage has it.
            "usage": _input_usage(started.prompt_tokens, cached_tokens=0) | {"output_tokens": 0},
        },
    }


def _stop(answer: events.AnswerDone) -> Wire:
    """Why the message ends: `stop_reason` and `stop_sequence`."""
    reason: StopReason = "end_turn"
    if answer.finish_reason == "length":
        reason = "max_tokens"
    elif answer.stop_sequence is not None:
        reason = "stop_sequence"
    elif answer.tool_calls:
        reason = "tool_use"
    return {"stop_reason": reason, "stop_sequence": answer.stop_sequence}


def _usage(usage: events.Usage) -> Wire:
    """Tokens in Anthropic's terms; early answers are output, too."""
    return _input_usage(usage.prompt_tokens, cached_tokens=usage.prompt_cached_tokens) | {
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.thinking_tokens},
    }


def _input_usage(prompt_tokens: int, *, cached_tokens: int) -> Wire:
    """The prompt in Anthropic's terms: cached tokens are counted apart from the others."""
    return {
        "input_tokens": prompt_tokens - cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached_tokens,
    }
