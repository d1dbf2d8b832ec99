"""A session's events as the stream of the Responses API; the whole response is that of the last event."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from anytime_server.api.openai import logprobs
from anytime_server.api.openai.responses.items import (
    Items,
    ended,
    failed,
    opening,
    reasoning_part,
    summary_part,
    text_part,
)
from anytime_server.api.openai.responses.schema import ResponsesRequest
from anytime_server.api.openai.responses.store import StoredResponse
from anytime_server.api.sse import Encoder, named_event
from anytime_server.session import Session, events
from anytime_server.text.answer_text import AnswerToken
from anytime_server.text.tool_calls import ToolCall

Wire = dict[str, Any]


class ResponsesEncoder(Encoder[Wire]):
    """Items are opened when their first text comes, one at a time, and numbered as they come."""

    def __init__(
        self, request: ResponsesRequest, session: Session, *, stored: StoredResponse | None = None
    ) -> None:
        """
        Args:
            stored: gets the response, each time that it is sent.
        """
        response_id = session.request.id
        self._request = request
        self._ignored = session.request.context.ignored
        self._opened = opening(
            request, response_id=response_id, model=session.model_name, is_stored=stored is not None
        )
        self._stored = stored
        if stored is not None:
            stored.update(self._opened)
        self._items = Items(response_id)
        self._summarises = request.summarises_thinking
        self._sequence_number = 0
        self._output: list[dict[str, Any]] = []
        """Items that are complete."""
        self._thinking = ""
        """Text of the reasoning item that is open."""
        self._answer = ""
        """Text of the message that is open."""
        self._tokens: list[AnswerToken] = []
        """Tokens of that message until now."""
        self._is_incomplete = False

    def encode(self, index: int, event: events.Event) -> Iterator[Wire]:
        for wire in self._encode(event):
            wire["sequence_number"] = self._sequence_number
            self._sequence_number += 1
            if self._stored is not None and "response" in wire:
                self._stored.update(wire["response"])
            yield wire

    def fold(self, stream: Iterable[Wire]) -> dict[str, Any]:
        *_, last = stream
        return last["response"]

    def frame(self, wire: Wire) -> bytes:
        return named_event(wire)

    def _encode(self, event: events.Event) -> Iterator[Wire]:
        match event:
            case events.Started():
                yield {"type": "response.created", "response": self._opened}
                yield {"type": "response.in_progress", "response": self._opened}
            case events.ThinkingDelta(text=text) if text and self._request.shows_thinking:
                yield from self._add_thinking(text)
            case events.AnswerStarted(provisional=False):
                yield from self._end_thinking(event.continuation)
            case events.AnswerDelta(provisional=False):
                yield from self._add_text(event.text, event.tokens)
            case events.AnswerDone(provisional=False):
                self._is_incomplete = event.finish_reason == "length"
                yield from self._end_thinking()
                yield from self._end_message()
                yield from self._add_calls(event.tool_calls)
            case events.Done():
                response = ended(
                    self._opened,
                    output=self._output,
                    is_incomplete=self._is_incomplete,
                    done=event,
                    ignored=self._ignored,
                )
                yield {"type": f"response.{response['status']}", "response": response}
            case events.Failed(error=error):
                output = [*self._output, *self._unfinished()]
                yield {
                    "type": "response.failed",
                    "response": failed(self._opened, output=output, error=error),
                }

    def _add_thinking(self, text: str) -> Iterator[Wire]:
        yield from self._end_message()
        if not self._thinking and self._output:
            self._items.next_block()
        item = self._items.reasoning("", status="in_progress")
        if not self._thinking:
            yield self._about("output_item.added", item=item)
            if self._summarises:
                yield self._of_summary("part.added", item, part=summary_part(""))
            else:
                yield self._within("content_part.added", item, part=reasoning_part(""))
        self._thinking += text
        if self._summarises:
            yield self._of_summary("text.delta", item, delta=text)
        else:
            yield self._within("reasoning_text.delta", item, delta=text)

    def _end_thinking(self, continuation: str | None = None) -> Iterator[Wire]:
        if not self._thinking:
            return
        text = self._thinking
        shown = continuation if self._request.shows_continuation else None
        item = self._items.reasoning(
            text, status="completed", is_summary=self._summarises, continuation=shown
        )
        if self._summarises:
            yield self._of_summary("text.done", item, text=text)
            yield self._of_summary("part.done", item, part=summary_part(text))
        else:
            yield self._within("reasoning_text.done", item, text=text)
            yield self._within("content_part.done", item, part=reasoning_part(text))
        yield self._complete(item)
        self._thinking = ""

    def _add_text(self, text: str, tokens: tuple[AnswerToken, ...]) -> Iterator[Wire]:
        self._tokens += tokens
        if not self._answer and not text:
            return
        yield from self._end_thinking()
        item = self._items.message("", status="in_progress")
        if not self._answer:
            yield self._about("output_item.added", item=item)
            yield self._within("content_part.added", item, part=text_part(""))
        self._answer += text
        if text or tokens:
            entries = logprobs.entries(tokens, with_bytes=False)
            yield self._within("output_text.delta", item, delta=text, logprobs=entries)

    def _end_message(self) -> Iterator[Wire]:
        if not self._answer:
            return
        text, status = self._answer, "incomplete" if self._is_incomplete else "completed"
        item = self._items.message(text, status=status, tokens=self._tokens)
        entries = logprobs.entries(self._tokens, with_bytes=False)
        yield self._within("output_text.done", item, text=text, logprobs=entries)
        yield self._within("content_part.done", item, part=text_part(text, self._tokens))
        yield self._complete(item)
        self._answer, self._tokens = "", []

    def _add_calls(self, calls: tuple[ToolCall, ...]) -> Iterator[Wire]:
        for index, call in enumerate(calls):
            fields = self._request.toolbox.call_fields(call)
            item = self._items.call(index, fields, status="completed")
            yield self._about("output_item.added", item=self._items.call(index, fields, status="in_progress"))
            position = {"item_id": item["id"], "output_index": len(self._output)}
            given = "input" if item["type"] == "custom_tool_call" else "arguments"
            kind = f"response.{item['type']}_{given}"
            yield {"type": f"{kind}.delta", "delta": item[given], **position}
            yield {"type": f"{kind}.done", given: item[given], **position}
            yield self._complete(item)

    def _unfinished(self) -> list[dict[str, Any]]:
        """The item that was under way when the session failed."""
        if self._answer:
            return [self._items.message(self._answer, status="incomplete", tokens=self._tokens)]
        if self._thinking:
            thinking = self._items.reasoning(self._thinking, status="incomplete", is_summary=self._summarises)
            return [thinking]
        return []

    def _complete(self, item: dict[str, Any]) -> Wire:
        wire = self._about("output_item.done", item=item)
        self._output.append(item)
        return wire

    def _about(self, name: str, *, item: dict[str, Any]) -> Wire:
        """An event of a whole item."""
        return {"type": f"response.{name}", "output_index": len(self._output), "item": item}

    def _of_summary(self, name: str, item: dict[str, Any], **fields: Any) -> Wire:
        """An event of the summary of an item, which has one part."""
        position = {"item_id": item["id"], "output_index": len(self._output), "summary_index": 0}
        return {"type": f"response.reasoning_summary_{name}", **position, **fields}

    def _within(self, name: str, item: dict[str, Any], **fields: Any) -> Wire:
        """An event of the one part that an item has."""
        position = {"item_id": item["id"], "output_index": len(self._output), "content_index": 0}
        return {"type": f"response.{name}", **position, **fields}
