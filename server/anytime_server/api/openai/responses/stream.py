"""A session's events as the stream of the Responses API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydantic_core import to_json

from anytime_server.api.openai.responses.items import (
    Items,
    ended,
    failed,
    logprobs,
    reasoning_part,
    text_part,
)
from anytime_server.api.openai.responses.schema import ResponsesRequest
from anytime_server.api.schema.tools import ToolAnswer
from anytime_server.session import events
from anytime_server.text.tool_calls import ToolCall


class ResponseEvents:
    """Items are opened when their first text comes, one at a time, and numbered as they come."""

    def __init__(
        self,
        request: ResponsesRequest,
        opened: dict[str, Any],
        *,
        tool_answer: ToolAnswer | None,
        continuation: Callable[[], str | None],
    ) -> None:
        """
        Args:
            opened: the response as it is before anything is sampled.
            tool_answer: what reads the answer, where there can be calls in it.
            continuation: of the session's thinking; called once that has ended.
        """
        self._request = request
        self._opened = opened
        self._tool_answer = tool_answer
        self._continuation = continuation
        self._items = Items(opened["id"])
        self._sequence_number = 0
        self._output: list[dict[str, Any]] = []
        """Items that are complete."""
        self._thinking = ""
        self._answer = ""
        self._tokens: list[events.AnswerToken] = []
        """Of the answer, so far."""
        self._num_told_tokens = 0
        self._calls: list[ToolCall] = []
        self._is_cut = False

    async def encode(self, batch: Sequence[events.Event]) -> bytes:
        """The wire form of a batch; may be empty."""
        wire = b""
        for event in batch:
            rest = ""
            if (
                isinstance(event, events.AnswerDone)
                and not event.provisional
                and self._tool_answer is not None
            ):
                # In a thread: parsers can take long.
                rest, self._calls = await asyncio.to_thread(self._tool_answer.finish)
            wire += b"".join(self._wire(**told) for told in self._told(event, rest))
        return wire

    def _wire(self, **told: Any) -> bytes:
        told["sequence_number"] = self._sequence_number
        self._sequence_number += 1
        return b"event: %s\ndata: %s\n\n" % (told["type"].encode(), to_json(told))

    def _told(self, event: events.Event, rest: str) -> Iterator[dict[str, Any]]:
        """What an event comes to; `rest`: of the answer, what had been held back until then."""
        match event:
            case events.Started():
                yield {"type": "response.created", "response": self._opened}
                yield {"type": "response.in_progress", "response": self._opened}
            case events.ThinkingDelta(text=text) if text and self._request.shows_thinking:
                yield from self._think(text)
            case events.AnswerStarted(provisional=False):
                yield from self._end_thinking()
            case events.AnswerDelta(provisional=False, text=text, tokens=tokens):
                self._tokens += tokens
                yield from self._say(text if self._tool_answer is None else self._tool_answer.push(text))
            case events.AnswerDone(provisional=False, finish_reason=finish_reason):
                self._is_cut = finish_reason == "length"
                yield from self._say(rest)
                yield from self._end_answer()
            case events.Done():
                response = ended(self._opened, output=self._output, is_cut=self._is_cut, done=event)
                yield {"type": f"response.{response['status']}", "response": response}
            case events.ErrorEvent(error=error):
                output = [*self._output, *self._unfinished()]
                response = failed(self._opened, output=output, error=error)
                yield {"type": "response.failed", "response": response}

    def _think(self, text: str) -> Iterator[dict[str, Any]]:
        if not self._thinking:
            item = self._items.reasoning("", status="in_progress")
            yield self._about("output_item.added", item=item)
            yield self._within("content_part.added", item, part=reasoning_part(""))
        self._thinking += text
        item = self._items.reasoning("", status="in_progress")
        yield self._within("reasoning_text.delta", item, delta=text)

    def _end_thinking(self) -> Iterator[dict[str, Any]]:
        if not self._thinking:
            return
        text = self._thinking
        continuation = self._continuation() if self._request.shows_continuation else None
        item = self._items.reasoning(text, status="completed", continuation=continuation)
        yield self._within("reasoning_text.done", item, text=text)
        yield self._within("content_part.done", item, part=reasoning_part(text))
        yield self._complete(item)

    def _say(self, text: str) -> Iterator[dict[str, Any]]:
        if not self._answer and not text:
            return
        item = self._items.message("", status="in_progress")
        if not self._answer:
            yield self._about("output_item.added", item=item)
            yield self._within("content_part.added", item, part=text_part(""))
        self._answer += text
        new = self._tokens[self._num_told_tokens :]
        self._num_told_tokens = len(self._tokens)
        if text or new:
            yield self._within(
                "output_text.delta", item, delta=text, logprobs=logprobs(new, with_bytes=False)
            )

    def _end_answer(self) -> Iterator[dict[str, Any]]:
        if self._answer:
            text, status = self._answer, "incomplete" if self._is_cut else "completed"
            item = self._items.message(text, status=status, tokens=self._tokens)
            told = logprobs(self._tokens, with_bytes=False)
            yield self._within("output_text.done", item, text=text, logprobs=told)
            yield self._within("content_part.done", item, part=text_part(text, self._tokens))
            yield self._complete(item)
        for index, call in enumerate(self._calls):
            item = self._items.call(index, call, status="completed")
            yield self._about("output_item.added", item=self._items.call(index, call, status="in_progress"))
            arguments = {"item_id": item["id"], "output_index": len(self._output)}
            yield {"type": "response.function_call_arguments.delta", "delta": call.arguments, **arguments}
            yield {"type": "response.function_call_arguments.done", "arguments": call.arguments, **arguments}
            yield self._complete(item)

    def _unfinished(self) -> list[dict[str, Any]]:
        """The item that was under way when all ended."""
        if self._answer and (not self._output or self._output[-1]["type"] == "reasoning"):
            return [self._items.message(self._answer, status="incomplete", tokens=self._tokens)]
        if self._thinking and not self._output:
            return [self._items.reasoning(self._thinking, status="incomplete")]
        return []

    def _complete(self, item: dict[str, Any]) -> dict[str, Any]:
        told = self._about("output_item.done", item=item)
        self._output.append(item)
        return told

    def _about(self, name: str, *, item: dict[str, Any]) -> dict[str, Any]:
        """An event of a whole item."""
        return {"type": f"response.{name}", "output_index": len(self._output), "item": item}

    def _within(self, name: str, item: dict[str, Any], **more: Any) -> dict[str, Any]:
        """An event of the one part that an item has."""
        place = {"item_id": item["id"], "output_index": len(self._output), "content_index": 0}
        return {"type": f"response.{name}", **place, **more}
