"""The endpoints of stored responses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from fastapi.sse import EventSourceResponse
from pydantic_core import to_json

from anytime_server.api.openai.responses.background import BackgroundResponse
from anytime_server.api.openai.responses.store import ResponseStore
from anytime_server.api.openapi import Body
from anytime_server.api.sse import STREAM_HEADERS
from anytime_server.errors import InvalidRequest

MAX_LISTED = 100


class Deleted(Body):
    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class ItemList(Body):
    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str
    last_id: str
    has_more: bool


def router(store: ResponseStore) -> APIRouter:
    """Read, cancel and delete what is stored. Another API key's responses are not found."""
    routes = APIRouter()

    @routes.get("/{response_id}")
    async def retrieve(
        response_id: str,
        request: Request,
        stream: bool = False,
        starting_after: Annotated[int, Query(ge=-1)] = -1,
    ) -> Response:
        """A response as it is now; or the events of a background response, with those to come."""
        kept = store.find(response_id, client=request.state.context.client)
        if not stream:
            return _response(kept.current)
        if not isinstance(kept, BackgroundResponse):
            raise InvalidRequest("only a background response can be streamed again", field="stream")
        return EventSourceResponse(kept.events(after=starting_after), headers=STREAM_HEADERS)

    @routes.delete("/{response_id}")
    async def delete(response_id: str, request: Request) -> Deleted:
        """Forget a response, and cancel it if it thinks in the background."""
        kept = store.remove(response_id, client=request.state.context.client)
        if isinstance(kept, BackgroundResponse):
            await kept.cancel()
        return Deleted(id=response_id)

    @routes.post("/{response_id}/cancel")
    async def cancel(response_id: str, request: Request) -> Response:
        """Cancel a response if it is not over, and return it."""
        kept = store.find(response_id, client=request.state.context.client)
        await kept.cancel()
        return _response(kept.current)

    @routes.get("/{response_id}/input_items")
    async def input_items(
        response_id: str,
        request: Request,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 20,
        order: Literal["asc", "desc"] = "desc",
    ) -> ItemList:
        """The items that a response answers, those of earlier responses included; the last come first."""
        items = store.find(response_id, client=request.state.context.client).items
        items = items if order == "asc" else items[::-1]
        ids = [item["id"] for item in items]
        if after is not None and after not in ids:
            raise InvalidRequest(f"after: no item has the id {after!r}", field="after")
        start = 0 if after is None else ids.index(after) + 1
        page = items[start : start + limit]
        return ItemList(
            data=page,
            first_id=page[0]["id"] if page else "",
            last_id=page[-1]["id"] if page else "",
            has_more=start + limit < len(items),
        )

    return routes


def _response(response: dict[str, Any]) -> Response:
    return Response(to_json(response), media_type="application/json")
