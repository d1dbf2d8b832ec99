"""A session as the events of a streamed message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from pydantic_core import to_json

from anytime_server.api.anthropic.errors import error_event
from anytime_server.api.anthropic.message import input_usage, stop_of, tool_use, usage_of
from anytime_server.api.sse import anytime_object
from anytime_server.session import events
from anytime_server.text.tool_calls import ToolCall, ToolCallReader

Wire = dict[str, Any]


class MessageEvents:
    """Events of one session, as they come: blocks are opened by the first that belongs in them."""

    def __init__(
        self,
        *,
        continuation: Callable[[], str | None],
        omits_thinking: bool,
        calls: ToolCallReader | None,
        most_calls: int | None,
    ) -> None:
        """
        Args:
            continuation: of the session's thinking; called once that has ended.
            omits_thinking: send a thinking block's signature alone.
            calls: reads the calls of tools in the answer; None where there are no tools.
            most_calls: how many of them are sent; None for all.
        """
        self._continuation = continuation
        self._omits_thinking = omits_thinking
        self._calls = calls
        self._most_calls = most_calls
        self._index = -1
        self._open: str | None = None
        """Type of the block that is open."""
        self._answer: events.Answer | None = None

    async def encode(self, batch: Sequence[events.Event]) -> bytes:
        """Events on the wire, `event:` equal to their type."""
        return b"".join([encode(wire) for event in batch for wire in await self._events(event)])

    async def _events(self, event: events.Event) -> list[Wire]:
        match event:
            case events.Started():
                return [_message_start(event), PING]
            case events.ThinkingDelta():
                begun = self._in("thinking")
                if self._omits_thinking or not event.text:
                    return begun
                return [*begun, self._delta({"type": "thinking_delta", "thinking": event.text})]
            case events.AnswerStarted(provisional=False):
                return self._end_thinking() if event.at_tokens > 0 else []
            case events.AnswerDelta(provisional=False):
                return self._text(event.text if self._calls is None else self._calls.push(event.text))
            case events.AnswerDone(provisional=False):
                self._answer = event
                return []
            case events.Done():
                rest, called = "", []
                if self._calls is not None:
                    rest, called = await asyncio.to_thread(self._calls.finish)  # parsers can take long
                return self._end(event, rest, called[: self._most_calls])
            case events.ErrorEvent(error=error):
                return [error_event(error.code, error.message)]
            case _:
                return []

    def _end_thinking(self) -> list[Wire]:
        begun = self._in("thinking")
        signature = self._delta({"type": "signature_delta", "signature": self._continuation() or ""})
        return [*begun, signature, *self._stop()]

    def _text(self, text: str) -> list[Wire]:
        return [*self._in("text"), self._delta({"type": "text_delta", "text": text})] if text else []

    def _end(self, done: events.Done, rest: str, called: Sequence[ToolCall]) -> list[Wire]:
        """The end; `rest`: of the answer, what had been held back until then."""
        assert self._answer is not None
        said = [*self._text(rest), *self._stop()]
        for call in called:
            said += self._start("tool_use", tool_use(call, {}))
            said.append(self._delta({"type": "input_json_delta", "partial_json": call.arguments}))
            said += self._stop()
        last = {
            "type": "message_delta",
            "delta": stop_of(self._answer, called),
            "usage": usage_of(done.usage),
            "anytime": anytime_object(done),
        }
        return [*said, last, {"type": "message_stop"}]

    def _in(self, kind: str) -> list[Wire]:
        """What opens a block of thinking or text, if none of that kind is open."""
        if self._open == kind:
            return []
        empty = {"type": kind, kind: ""} | ({"signature": ""} if kind == "thinking" else {})
        return [*self._stop(), *self._start(kind, empty)]

    def _start(self, kind: str, block: Wire) -> list[Wire]:
        self._open = kind
        self._index += 1
        return [{"type": "content_block_start", "index": self._index, "content_block": block}]

    def _delta(self, delta: Wire) -> Wire:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _stop(self) -> list[Wire]:
        if self._open is None:
            return []
        self._open = None
        return [{"type": "content_block_stop", "index": self._index}]


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
            # What of it was cached is not known yet; the last usage tells.
            "usage": input_usage(started.prompt_tokens, cached_tokens=0) | {"output_tokens": 0},
        },
    }


def encode(wire: Wire) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (wire["type"].encode(), to_json(wire))


PING: Wire = {"type": "ping"}
KEEP_ALIVE = encode(PING)
