"""Stored responses: read again, gone on with, cancelled, deleted, and dropped."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from anytime_server.api.openai.responses.input import item_of
from anytime_server.api.openai.responses.store import KEEP_S, ResponseStore, StoredResponse
from anytime_server.errors import AnytimeError
from anytime_server.types import RequestContext

from ...conftest import Served
from ...keys import key, keyring
from .test_responses import BODY, check_shape, event_types

USER: dict[str, Any] = {"role": "user", "content": "7-3"}
MORE: dict[str, Any] = {"role": "user", "content": "8-3"}
SLOW: dict[str, Any] = {"never_end": True, "seconds_per_token": 0.002}


@pytest.fixture
async def sdk_of(served: Any) -> AsyncGenerator[Callable[..., Any], None]:
    """Starts a server, and returns it with the SDK's client."""
    clients: list[openai.AsyncOpenAI] = []

    async def start(*, api_key: str = "none", server: Served | None = None, **script: Any) -> Any:
        started: Served = server or await served(**script)
        clients.append(openai.AsyncOpenAI(base_url=f"{started.url}/v1", api_key=api_key, max_retries=0))
        return started, clients[-1]

    yield start
    for client in clients:
        await client.close()


async def test_response_is_read_again_as_it_was(sdk_of: Any) -> None:
    server, client = await sdk_of(thinking_tokens=5)
    created = await client.responses.create(**BODY, metadata={"a": "b"})
    assert await client.responses.retrieve(created.id) == created
    [*_, last] = [event async for event in await client.responses.create(**BODY, stream=True)]
    assert await client.responses.retrieve(last.response.id) == last.response
    await client.responses.delete(created.id)
    for call in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError, match="may have been dropped") as refused:
            await call(created.id)
        assert (refused.value.code, refused.value.param) == ("response_not_found", "response_id")
    deleted = await server.http.delete(f"/v1/responses/{last.response.id}")
    assert deleted.json() == {"id": last.response.id, "object": "response", "deleted": True}


@pytest.mark.parametrize(
    ("options", "fields", "message"),
    [({}, {"store": False}, "`store` false"), ({"max_stored_responses": 0}, {}, "stores none")],
)
async def test_responses_that_are_not_stored_say_so(
    sdk_of: Any, options: Any, fields: Any, message: str
) -> None:
    _, client = await sdk_of(app=options)
    created = await client.responses.create(**BODY, **fields, background=True)
    assert (created.store, created.status) == (False, "completed"), "nobody could read it later"
    assert created.anytime["ignored"] == ["background"]
    with pytest.raises(openai.NotFoundError, match=message):
        await client.responses.retrieve(created.id)
    with pytest.raises(openai.BadRequestError, match=message) as refused:
        await client.responses.create(**BODY, previous_response_id=created.id)
    assert (refused.value.code, refused.value.param) == (
        "previous_response_not_found",
        "previous_response_id",
    )


async def test_conversation_goes_on_from_a_stored_response(sdk_of: Any) -> None:
    _, client = await sdk_of(thinking_tokens=5)
    first = await client.responses.create(**BODY, instructions="Be brief.")
    second = await client.responses.create(model="tiny", input=[MORE], previous_response_id=first.id)
    third = await client.responses.create(model="tiny", input="9-3", previous_response_id=second.id)
    written_out = await client.responses.create(
        model="tiny",
        input=[USER, *first.output, MORE, *second.output, {"role": "user", "content": "9-3"}],
    )
    assert third.previous_response_id == second.id
    assert third.usage.input_tokens == written_out.usage.input_tokens
    listed = await client.responses.input_items.list(third.id, order="asc")
    check_shape(listed.data)
    assert [item.type for item in listed.data] == [
        *["message", "reasoning", "message"] * 2,
        "message",
    ]
    assert [item.id for item in listed.data[1:3]] == [item.id for item in first.output]
    assert listed.data[0].content[0].text == "7-3"
    assert len({item.id for item in listed.data}) == 7


async def test_items_are_listed_in_pages(sdk_of: Any) -> None:
    server, client = await sdk_of(thinking_tokens=5)
    items = [
        {"role": role, "content": role, "id": f"msg_{n}"} for n, role in enumerate(("user", "assistant"))
    ]
    created = await client.responses.create(model="tiny", input=[*items, MORE | {"id": "msg_2"}])
    page = await client.responses.input_items.list(created.id, limit=2)
    assert [item.id for item in page.data] == ["msg_2", "msg_1"]
    assert page.has_more
    assert [item.id async for item in page] == ["msg_2", "msg_1", "msg_0"]
    path = f"/v1/responses/{created.id}/input_items"
    for query in ("limit=0", "limit=101", "order=up", "after=msg_9"):
        refused = await server.http.get(f"{path}?{query}")
        assert refused.status_code == 400
        assert query.split("=")[0] in refused.json()["error"]["message"]
    rest = (await server.http.get(f"{path}?after=msg_0")).json()
    assert rest == {"object": "list", "data": [], "first_id": "", "last_id": "", "has_more": False}


async def test_items_are_referred_to_by_id(sdk_of: Any) -> None:
    _, client = await sdk_of(thinking_tokens=5)
    first = await client.responses.create(model="tiny", input=[USER | {"id": "msg_own"}])
    references = [{"id": item.id, "type": "item_reference"} for item in first.output]
    again = await client.responses.create(model="tiny", input=[{"id": "msg_own"}, *references, MORE])
    written_out = await client.responses.create(model="tiny", input=[USER, *first.output, MORE])
    assert again.usage.input_tokens == written_out.usage.input_tokens
    with pytest.raises(openai.NotFoundError, match="no stored response has") as refused:
        await client.responses.create(model="tiny", input=[{"type": "item_reference", "id": "msg_x"}, MORE])
    assert (refused.value.param, refused.value.code) == ("input.0.id", "item_not_found")
    lost = {"type": "item_reference", "id": "rs_x"}
    without = await client.responses.create(model="tiny", input=[USER, lost, MORE])
    assert without.anytime["ignored"] == ["input.1"]
    for previous in (None, first.id):
        with pytest.raises(openai.BadRequestError, match="input: there is nothing to answer"):
            await client.responses.create(model="tiny", input=[lost], previous_response_id=previous)


async def test_another_api_key_finds_nothing(sdk_of: Any) -> None:
    server, alice = await sdk_of(api_key="alice", app={"keyring": keyring(key("alice"), key("bob"))})
    _, bob = await sdk_of(api_key="bob", server=server)
    created = await alice.responses.create(model="tiny", input=[USER | {"id": "msg_alice"}])
    for call in (
        bob.responses.retrieve,
        bob.responses.delete,
        bob.responses.cancel,
        bob.responses.input_items.list,
    ):
        with pytest.raises(openai.NotFoundError):
            await call(created.id)
    with pytest.raises(openai.BadRequestError):
        await bob.responses.create(**BODY, previous_response_id=created.id)
    with pytest.raises(openai.NotFoundError):
        await bob.responses.create(model="tiny", input=[{"id": "msg_alice", "type": "item_reference"}])
    assert (await alice.responses.retrieve(created.id)).id == created.id


async def test_background_response_is_polled(sdk_of: Any) -> None:
    _, client = await sdk_of(thinking_tokens=9, seconds_per_token=0.002)
    started = await client.responses.create(**BODY, background=True)
    assert (started.status, started.background, started.output) == ("in_progress", True, [])
    with pytest.raises(openai.BadRequestError, match="not over yet"):
        await client.responses.create(**BODY, previous_response_id=started.id)
    async with asyncio.timeout(10):
        while (response := await client.responses.retrieve(started.id)).status == "in_progress":
            await asyncio.sleep(0.005)
    check_shape(response)
    assert (response.status, response.output_text) == ("completed", "42")


async def test_background_stream_is_read_again_from_any_event(served: Any) -> None:
    server = await served(thinking_tokens=9, seconds_per_token=0.002)
    body = BODY | {"background": True, "stream": True}
    async with server.http.stream("POST", "/v1/responses", json=body) as reply:
        lines = reply.aiter_lines()
        while not (line := await anext(lines)).startswith("data: "):
            pass
    # The client has left.
    path = f"/v1/responses/{json.loads(line[6:])['response']['id']}?stream=true"
    whole = (await server.http.get(path)).text
    found = [json.loads(line[6:]) for line in whole.splitlines() if line.startswith("data: ")]
    assert event_types(found)[-1] == "completed"
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    rest = (await server.http.get(f"{path}&starting_after=3")).text
    assert whole.endswith(rest)
    assert rest.count("data: ") == len(found) - 4
    foreground = (await server.http.post("/v1/responses", json=BODY)).json()["id"]
    refused = await server.http.get(f"/v1/responses/{foreground}?stream=true")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "stream")


@pytest.mark.parametrize("background", [False, True])
async def test_response_under_way_is_cancelled(served: Any, background: bool) -> None:
    server = await served(**SLOW)
    asked = asyncio.create_task(server.http.post("/v1/responses", json=BODY | {"background": background}))
    while not [*server.scheduler.active]:
        await asyncio.sleep(0.001)
    [session] = server.scheduler.active
    path = f"/v1/responses/{session.request.id}"
    cancelled = await server.http.post(f"{path}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert cancelled.json()["error"] is None
    assert (await server.http.get(path)).json()["status"] == "cancelled"
    assert (await server.http.post(f"{path}/cancel")).json()["status"] == "cancelled"
    assert (await asked).status_code == (200 if background else 409)
    await server.idle()


async def test_deleted_background_response_is_cancelled(served: Any) -> None:
    server = await served(**SLOW)
    started = (await server.http.post("/v1/responses", json=BODY | {"background": True})).json()
    assert (await server.http.delete(f"/v1/responses/{started['id']}")).status_code == 200
    await server.idle()


async def test_response_whose_client_left_is_cancelled(served: Any) -> None:
    server = await served(**SLOW)
    async with server.http.stream("POST", "/v1/responses", json=BODY | {"stream": True}) as reply:
        lines = reply.aiter_lines()
        while not (line := await anext(lines)).startswith("data: "):
            pass
    await server.idle()
    response_id = json.loads(line[6:])["response"]["id"]
    async with asyncio.timeout(10):
        while (kept := await server.http.get(f"/v1/responses/{response_id}")).json()["status"] != "cancelled":
            await asyncio.sleep(0.005)
    assert kept.json()["output"] == []


async def test_failed_response_is_stored_with_its_error(served: Any) -> None:
    server = await served(never_end=True, die_after_tokens=10)
    started = (await server.http.post("/v1/responses", json=BODY | {"background": True})).json()
    async with asyncio.timeout(10):
        while (kept := (await server.http.get(f"/v1/responses/{started['id']}")).json())[
            "status"
        ] == "in_progress":
            await asyncio.sleep(0.005)
    assert (kept["status"], kept["error"]["type"]) == ("failed", "engine_dead")


async def test_input_tokens_are_those_of_the_response(sdk_of: Any) -> None:
    server, client = await sdk_of(thinking_tokens=5)
    first = await client.responses.create(**BODY)
    for fields in (BODY, {"model": "tiny", "input": [MORE], "previous_response_id": first.id}):
        counted = await client.responses.input_tokens.count(**fields)
        assert counted.object == "response.input_tokens"
        assert counted.input_tokens == (await client.responses.create(**fields)).usage.input_tokens
    resumed = {"anytime": {"continuation": first.anytime["continuation"]}}
    refused = await server.http.post("/v1/responses/input_tokens", json=BODY | resumed)
    assert refused.json()["error"]["param"] == "anytime.continuation"


async def test_compaction_is_refused(sdk_of: Any) -> None:
    _, client = await sdk_of()
    with pytest.raises(openai.NotFoundError, match="compaction is not served") as refused:
        await client.responses.compact(model="tiny", input="7-3")
    assert refused.value.code == "not_supported"


def stored(number: int, *, client: str = "", text: str = "x", is_over: bool = True) -> StoredResponse:
    """A response that no server has given."""
    context = RequestContext(account=client and SimpleNamespace(name=client))  # pyright: ignore[reportArgumentType]
    request = SimpleNamespace(id=f"resp_{number}", context=context)
    session: Any = SimpleNamespace(request=request, phase="thinking", done=None, error=None)
    found = StoredResponse(session, [item_of({"role": "user", "content": text})])
    status = "completed" if is_over else "in_progress"
    found.update({"status": status, "error": None, "output": []})
    return found


def kept(store: ResponseStore, *numbers: int, client: str = "") -> list[int]:
    """Those of the responses that are still stored."""
    found = []
    for number in numbers:
        try:
            store.find(f"resp_{number}", client=client)
        except AnytimeError:
            continue
        found.append(number)
    return found


def test_least_recently_used_response_is_dropped_first() -> None:
    store = ResponseStore(max_responses=3, max_bytes=1 << 20)
    for number in range(3):
        store.add(stored(number))
    assert kept(store, 0) == [0]
    store.add(stored(3))
    assert kept(store, 0, 1, 2, 3) == [0, 2, 3]


def test_bytes_of_conversations_are_bounded() -> None:
    store = ResponseStore(max_responses=100, max_bytes=10_000)
    for number in range(10):
        store.add(stored(number, text="x" * 3000))
    assert kept(store, *range(10)) == [7, 8, 9]


def test_responses_under_way_are_not_dropped() -> None:
    store = ResponseStore(max_responses=1, max_bytes=1 << 20)
    for number in range(3):
        store.add(stored(number, is_over=False))
    assert kept(store, 0, 1, 2) == [0, 1, 2]
    store.add(stored(3))
    assert kept(store, 0, 1, 2, 3) == [0, 1, 2, 3]


def test_ended_response_frees_its_session() -> None:
    assert stored(0, is_over=False).session is not None
    assert stored(1).session is None


def test_api_key_with_the_most_makes_room() -> None:
    store = ResponseStore(max_responses=4, max_bytes=1 << 20)
    store.add(stored(0, client="alice"))
    for number in range(1, 8):
        store.add(stored(number, client="bob"))
    assert kept(store, 0, client="alice") == [0]
    assert kept(store, *range(1, 8), client="bob") == [5, 6, 7]


def test_unused_responses_are_dropped_after_a_day() -> None:
    now = 0.0
    store = ResponseStore(max_responses=9, max_bytes=1 << 20, clock=lambda: now)
    store.add(stored(0))
    store.add(stored(1))
    now = KEEP_S
    assert kept(store, 0) == [0]
    now += 1
    assert kept(store, 0, 1) == [0]
