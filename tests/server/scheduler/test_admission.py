"""Admission: the length of the queue, and the limits of an account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from anytime_server.auth import Account, Limits
from anytime_server.engine import Delta, EngineRequest
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.errors import InvalidRequest, Overloaded, RateLimited, UnknownModel, UnknownSession
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.session import Session, events
from anytime_server.text.model import Model
from anytime_server.types import RequestContext

from .conftest import read_all, request


async def test_requests_over_the_queue_limit_are_refused(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    engine = scripted(never_end=True, seconds_per_token=0.01, max_num_seqs=2)
    scheduler = Scheduler(tiny_model, engine, measure_speed=False, max_waiting=3)
    await scheduler.start()
    opened = await asyncio.gather(
        *(scheduler.submit(request(budget_tokens=5)) for _ in range(9)),
        return_exceptions=True,
    )
    refused = [error for error in opened if isinstance(error, BaseException)]
    assert len(refused) == 9 - (2 + 3)
    for error in refused:
        assert isinstance(error, Overloaded)
        assert (error.retry_after_s or 0) >= 1
    for session in opened:
        if isinstance(session, Session):
            assert isinstance((await read_all(session))[-1], events.Done)
    assert isinstance((await read_all(await scheduler.submit(request(budget_tokens=5))))[-1], events.Done)
    await scheduler.stop()


async def test_account_is_charged_for_thinking_and_controls_only_its_own_sessions(
    start_scheduler: Callable[..., Any],
) -> None:
    scheduler = await start_scheduler(never_end=True, seconds_per_token=0.002)
    limits = Limits(thinking_tokens_per_minute=100)
    mine, other = (Account(name, limits, clock_ns=lambda: 0) for name in ("mine", "other"))
    session = await scheduler.submit(request(budget_tokens=6, context=RequestContext(account=mine)))
    assert remaining(mine) == 94
    for stranger in (other, None):
        with pytest.raises(UnknownSession):
            scheduler.find(session.request.id, account=stranger)
        with pytest.raises(UnknownSession):
            scheduler.extend(session.request.id, 3, account=stranger)
    assert scheduler.extend(session.request.id, 3, account=Account("mine")) == (9, session.thinking_tokens)
    assert remaining(mine) == 91
    await read_all(session)
    assert (remaining(mine), remaining(other), mine.num_under_way) == (91, 100, 0)
    cancelled = await scheduler.submit(request(budget_tokens=60, context=RequestContext(account=mine)))
    assert remaining(mine) == 31
    cancelled.cancel()
    await cancelled.ended()
    assert remaining(mine) == 91 - cancelled.thinking_tokens


def remaining(account: Account) -> int:
    """The rest of the account's only limit."""
    [bucket] = account.quotas.values()
    return bucket.remaining


async def test_request_refused_by_the_account_leaves_nothing(start_scheduler: Callable[..., Any]) -> None:
    scheduler = await start_scheduler()
    poor = Account("poor", Limits(tokens_per_minute=1))
    with pytest.raises(InvalidRequest):
        await scheduler.submit(request(context=RequestContext(account=poor)))
    assert (len(scheduler.active), scheduler.engine.load().num_requests) == (0, 0)
    assert (poor.num_under_way, remaining(poor)) == (0, 1)


async def test_requests_that_can_never_be_served_are_refused_as_such_by_a_full_server(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    scheduler = Scheduler(
        tiny_model,
        scripted(max_num_seqs=1, never_end=True, seconds_per_token=0.01),
        measure_speed=False,
        max_waiting=0,
    )
    await scheduler.start()
    await scheduler.submit(request())
    with pytest.raises(Overloaded):
        await scheduler.submit(request())
    with pytest.raises(UnknownModel):
        await scheduler.submit(request(model="other"))
    with pytest.raises(InvalidRequest, match="window"):
        await scheduler.submit(request(budget_tokens=9999))
    await scheduler.stop()


async def submit_many(scheduler: Scheduler, account: Account | None, number: int) -> list[BaseException]:
    """Submit requests at the same time, and return the errors of those that were refused."""
    context = RequestContext(account=account)
    opened = await asyncio.gather(
        *(scheduler.submit(request(context=context)) for _ in range(number)), return_exceptions=True
    )
    return [error for error in opened if isinstance(error, BaseException)]


@pytest.fixture
async def full(scripted: Callable[..., ScriptedEngine], tiny_model: Model) -> Any:
    """A scheduler whose only slot is taken, with a queue of 12."""
    engine = scripted(max_num_seqs=1, never_end=True, seconds_per_token=30)
    scheduler = Scheduler(tiny_model, engine, measure_speed=False, max_waiting=12)
    await scheduler.start()
    await scheduler.submit(request())
    while scheduler.active.slots.num_free:
        await asyncio.sleep(0.001)
    yield scheduler
    await scheduler.stop()


async def test_an_api_key_leaves_room_in_the_queue_for_others(full: Scheduler) -> None:
    alice, bob = Account("alice"), Account("bob")
    refused = await submit_many(full, alice, 20)
    assert full.active.waiting_by_client() == {"alice": 6}
    assert {type(error) for error in refused} == {RateLimited}
    assert await submit_many(full, bob, 3) == []
    assert {type(error) for error in await submit_many(full, alice, 1)} == {RateLimited}
    assert {type(error) for error in await submit_many(full, bob, 1)} == {RateLimited}
    assert await submit_many(full, Account("carol"), 2) == []
    assert await submit_many(full, None, 1) == []


async def test_an_api_key_may_have_a_limit_of_its_own_in_the_queue(full: Scheduler) -> None:
    assert len(await submit_many(full, Account("alice", Limits(max_waiting=9)), 12)) == 3
    assert len(await submit_many(full, Account("bob", Limits(max_waiting=0)), 1)) == 1
    assert len(await submit_many(full, Account("carol", Limits(max_waiting=9)), 12)) == 9


async def test_without_api_keys_the_whole_queue_can_be_used(full: Scheduler) -> None:
    assert {type(error) for error in await submit_many(full, None, 14)} == {Overloaded}
    assert full.active.num_waiting == 12


async def test_free_slots_are_for_every_key(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    scheduler = Scheduler(tiny_model, scripted(max_num_seqs=4), measure_speed=False, max_waiting=0)
    await scheduler.start()
    assert await submit_many(scheduler, Account("alice"), 4) == []
    await scheduler.stop()


@pytest.mark.parametrize(
    "limits", [{"requests_per_day": 4}, {"tokens_per_day": 200}, {"thinking_tokens_per_minute": 100}]
)
async def test_choices_are_admitted_together_or_count_nothing(
    start_scheduler: Callable[..., Any], limits: dict[str, int]
) -> None:
    scheduler = await start_scheduler(never_end=True, seconds_per_token=0.001)
    alice = Account("alice", Limits(**limits), clock_ns=lambda: 0)
    asked = request(budget_tokens=30, context=RequestContext(account=alice))
    sessions = await scheduler.submit_choices(asked, 2)
    before = remaining(alice)
    with pytest.raises(RateLimited):
        await scheduler.submit_choices(asked, 3)
    assert (remaining(alice), alice.num_under_way, len(scheduler.active)) == (before, 2, 2)
    for session in sessions:
        await read_all(session)


async def test_a_salt_of_each_key_keeps_cached_prefixes_apart(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    """All engine requests of a session have its key's salt, which differs from server to server."""
    salts: dict[tuple[bool, str], set[str]] = {}
    for shares_prefixes in (False, False, True):
        engine = scripted(never_end=True)
        scheduler = Scheduler(tiny_model, engine, measure_speed=False, shares_prefixes=shares_prefixes)
        await scheduler.start()
        generate = engine.generate
        for name in ("", "alice", "bob", "alice"):

            def note(engine_request: EngineRequest, name: str = name) -> AsyncGenerator[Delta, None]:
                salts.setdefault((shares_prefixes, name), set()).add(engine_request.cache_salt)  # noqa: B023
                return generate(engine_request)  # noqa: B023

            engine.generate = note  # pyright: ignore[reportAttributeAccessIssue]
            context = RequestContext(account=Account(name) if name else None)
            asked = request(budget_tokens=30, budgets=(5, 10), context=context)
            await read_all(await scheduler.submit(asked))
        await scheduler.stop()
    assert salts[False, ""] == salts[True, ""] == salts[True, "alice"] == salts[True, "bob"] == {""}
    alice, bob = salts[False, "alice"], salts[False, "bob"]
    assert len(alice) == len(bob) == len(alice - bob) == 2, "one for each server"
