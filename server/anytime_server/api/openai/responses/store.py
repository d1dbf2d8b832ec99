"""Responses that are kept in memory for a while, within limits of number and bytes. Each is of one API key.

Knows no HTTP, and is of one process: another replica has a store of its own.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from uuid import uuid4

from pydantic_core import to_json

from anytime_server.api.openai.responses.dialogue import Conversation, not_stored
from anytime_server.api.openai.responses.input import item_of
from anytime_server.api.openai.responses.input_items import InputItem, ItemReference
from anytime_server.api.openai.responses.items import failed
from anytime_server.api.openai.responses.schema import ResponsesRequest
from anytime_server.api.schema.fields import MAX_ITEMS
from anytime_server.errors import (
    InvalidRequest,
    SessionCancelled,
    UnknownPrevious,
    UnknownResponse,
)
from anytime_server.session import Session
from anytime_server.types import IgnoredFields

KEEP_S = 24 * 60 * 60
"""Seconds that a response is kept after its last use."""

ID_PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
}
"""Beginnings of the ids of items; `item` for others."""

CANCELLED = SessionCancelled("the response was cancelled")


class StoredResponse:
    """A response that is kept, from its first event on."""

    def __init__(self, session: Session, items: Sequence[InputItem]) -> None:
        """
        Args:
            items: the conversation that it answers.
        """
        self.id = session.request.id
        self.client = session.request.context.client
        """Name of its API key; empty where no keys are required."""
        self.items = [_stored_item(item) for item in items]
        """The conversation, each item with an id."""
        self.response: dict[str, Any] = {}
        """The response as it was last sent."""
        self.session: Session | None = session
        """Until it is over."""
        self.frames: list[bytes] = []
        """The server-sent events of a background response."""
        self.used_at = 0.0
        self._input_bytes = len(to_json(self.items))
        self._num_frame_bytes = 0
        self._num_bytes: int | None = None

    @property
    def is_over(self) -> bool:
        return self.current["status"] != "in_progress"

    @property
    def current(self) -> dict[str, Any]:
        """The response as it is now."""
        session = self.session
        if session is not None and session.phase == "ended" and session.done is None:
            # Perhaps without a last event: its client had left.
            self.update(failed(self.response, output=[], error=session.error or CANCELLED))
        return self.response

    def update(self, response: dict[str, Any]) -> None:
        """Keep what was sent."""
        error = response["error"]
        if error is not None and error["type"] == SessionCancelled.code:
            response = response | {"status": "cancelled", "error": None}
        self.response = response
        if response["status"] != "in_progress":
            self.session = None

    async def cancel(self) -> None:
        """End it, if it is not over, and wait for that."""
        if (session := self.session) is not None:
            session.cancel()
            await session.ended()

    def add_frame(self, frame: bytes) -> None:
        self.frames.append(frame)
        self._num_frame_bytes += len(frame)

    @property
    def num_bytes(self) -> int:
        """Bytes that it takes, about."""
        if self._num_bytes is not None:
            return self._num_bytes
        if not self.is_over:
            return self._input_bytes + self._num_frame_bytes
        self._num_bytes = self._input_bytes + self._num_frame_bytes + len(to_json(self.response))
        return self._num_bytes


class ResponseStore:
    """Stored responses, in the order of their last use."""

    def __init__(
        self, *, max_responses: int, max_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
            max_responses: 0 stores none.
        """
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._clock = clock
        self._stored: dict[str, StoredResponse] = {}

    @property
    def is_on(self) -> bool:
        return self._max_responses > 0

    def add(self, stored: StoredResponse) -> None:
        """Keep a response; others are dropped for it, once they are over."""
        stored.used_at = self._clock()
        self._stored[stored.id] = stored
        self._make_room(keep=stored)

    def find(self, response_id: str, *, client: str) -> StoredResponse:
        """A response of that API key, which is then the last to be dropped.

        Raises:
            UnknownResponse: there is none.
        """
        self._drop_unused()
        stored = self._stored.get(response_id)
        if stored is None or stored.client != client:
            why = (
                "it may have been dropped, or had `store` false"
                if self.is_on
                else "this server stores none (`--max-stored-responses 0`)"
            )
            raise UnknownResponse(f"no response {response_id!r} is stored: {why}", field="response_id")
        self._stored[response_id] = self._stored.pop(response_id)
        stored.used_at = self._clock()
        return stored

    def remove(self, response_id: str, *, client: str) -> StoredResponse:
        """Drop a response of that API key.

        Raises:
            UnknownResponse: there is none.
        """
        stored = self.find(response_id, client=client)
        del self._stored[response_id]
        return stored

    def conversation(self, request: ResponsesRequest, *, client: str, ignored: IgnoredFields) -> Conversation:
        """The input of a request, after the conversation that it goes on with.

        Args:
            ignored: gets references to thinking that is not here.

        Raises:
            InvalidRequest: the earlier response is not here, or not over.
            UnknownItem: an item is not here.
        """
        earlier = self._earlier(request.previous_response_id, client=client)
        own = list(self._resolved(request.input, client=client, ignored=ignored))
        if len(earlier) + len(own) > MAX_ITEMS:
            raise InvalidRequest(
                f"previous_response_id: more than {MAX_ITEMS} items in all", field="previous_response_id"
            )
        return Conversation(items=[*earlier, *own], num_earlier=len(earlier))

    def _earlier(self, response_id: str | None, *, client: str) -> list[InputItem]:
        if response_id is None:
            return []
        try:
            stored = self.find(response_id, client=client)
        except UnknownResponse as error:
            raise UnknownPrevious(f"previous_response_id: {error}", field="previous_response_id") from None
        if not stored.is_over:
            raise InvalidRequest(
                f"previous_response_id: {response_id} is not over yet", field="previous_response_id"
            )
        return [item_of(item) for item in (*stored.items, *stored.current["output"])]

    def _resolved(
        self, items: Sequence[InputItem], *, client: str, ignored: IgnoredFields
    ) -> Iterator[InputItem]:
        """The items with those in place of references."""
        wanted = {item.id for item in items if isinstance(item, ItemReference)}
        found = dict(self._items(wanted, client=client)) if wanted else {}
        for position, item in enumerate(items):
            if not isinstance(item, ItemReference):
                yield item
            elif (wire := found.get(item.id)) is not None:
                yield item_of(wire)
            elif item.id.startswith("rs_"):
                ignored.add(f"input.{position}", "this thinking is not stored, and the model does not see it")
            else:
                raise not_stored(item.id, field=f"input.{position}.id")

    def _items(self, ids: Iterable[str | None], *, client: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Items by id, of that API key's responses."""
        wanted = set(ids)
        for stored in self._stored.values():
            if stored.client != client:
                continue
            for item in (*stored.items, *stored.current["output"]):
                if item["id"] in wanted:
                    yield item["id"], item

    def _drop_unused(self) -> None:
        """Drop what nobody has used for long: those are the first."""
        before = self._clock() - KEEP_S
        unused = [one.id for one in self._stored.values() if one.used_at < before and one.is_over]
        for response_id in unused:
            del self._stored[response_id]

    def _make_room(self, *, keep: StoredResponse) -> None:
        """Drop responses until both limits hold: the oldest of the API key that has the most bytes."""
        self._drop_unused()
        sizes = {one.id: one.num_bytes for one in self._stored.values()}
        left = [one for one in self._stored.values() if one is not keep and one.is_over]
        while left and (len(sizes) > self._max_responses or sum(sizes.values()) > self._max_bytes):
            by_client = Counter[str]()
            for one in left:
                by_client[one.client] += sizes[one.id]
            [(largest, _)] = by_client.most_common(1)
            dropped = next(one for one in left if one.client == largest)
            left.remove(dropped)
            del sizes[dropped.id], self._stored[dropped.id]


def _stored_item(item: InputItem) -> dict[str, Any]:
    """The item as the client wrote it, with an id, and content in parts."""
    wire = item.wire
    kind = wire["type"]
    given: dict[str, Any] = {"id": wire.get("id") or f"{ID_PREFIXES.get(kind, 'item')}_{uuid4().hex}"}
    if kind == "message" and isinstance(text := wire.get("content"), str):
        is_answer = wire["role"] == "assistant"
        part = {"type": "output_text", "text": text, "annotations": []}
        given["content"] = [part if is_answer else {"type": "input_text", "text": text}]
    return wire | given
