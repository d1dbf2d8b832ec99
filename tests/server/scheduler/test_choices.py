"""Several answers to one request, counted prompts, and refusals with the time after which to retry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from anytime_server.auth import Account, Limits
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.errors import InvalidRequest, Overloaded, RateLimited, Unavailable
from anytime_server.scheduler.scheduler import RESTART_S, Scheduler
from anytime_server.text.model import Model
from anytime_server.types import RequestContext

from .conftest import request


def from_key(account: Account, **fields: Any) -> Any:
    return request(context=RequestContext(account=account), **fields)


@pytest.mark.parametrize(
    ("seed", "seeds"),
    [
        (5, [5, 6, 7]),
        (None, [None, None, None]),
        (-1, [-1, 0, 1]),
        (2**63 - 2, [2**63 - 2, 2**63 - 1, -(2**63)]),
    ],
)
async def test_each_choice_has_its_own_id_and_the_next_seed(
    start_scheduler: Callable[..., Any], seed: int | None, seeds: list[int | None]
) -> None:
    scheduler = await start_scheduler()
    sessions = await scheduler.submit_choices(request(seed=seed, id_prefix="chatcmpl-", budget_tokens=3), 3)
    assert [session.request.seed for session in sessions] == seeds
    ids = [session.request.id for session in sessions]
    assert len(set(ids)) == 3
    assert all(session_id.startswith("chatcmpl-") for session_id in ids)
    assert {session.request.limits.budget_tokens for session in sessions} == {3}
    for session in sessions:
        await session.ended()
    assert all(session.done is not None for session in sessions)


async def test_choices_are_admitted_together_or_not_at_all(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    engine = scripted(max_num_seqs=2, never_end=True, seconds_per_token=0.01)
    scheduler = Scheduler(tiny_model, engine, measure_speed=False, max_waiting=1)
    await scheduler.start()
    with pytest.raises(Overloaded) as refused:
        await scheduler.submit_choices(request(), 4)
    assert refused.value.retry_after_s == 1.0
    await scheduler.active.ended()
    assert (len(scheduler.active), engine.load().num_requests) == (0, 0)
    sessions = await scheduler.submit_choices(request(), 3)
    assert len(sessions) == 3
    await asyncio.sleep(0)  # two of them get their slots
    scheduler.active.mean_held_s = 7.5
    with pytest.raises(Overloaded, match="1 requests wait already") as refused:
        await scheduler.submit(request())
    assert refused.value.retry_after_s == 7.5
    await scheduler.stop()


async def test_choices_count_one_by_one_for_a_key(start_scheduler: Callable[..., Any]) -> None:
    scheduler = await start_scheduler(never_end=True, seconds_per_token=0.01)
    account = Account("mine", Limits(concurrency=3, requests_per_minute=4))
    with pytest.raises(InvalidRequest, match="the most is 3") as never:
        await scheduler.submit_choices(from_key(account, field_names={"n": "best_of"}), 4)
    assert never.value.field == "best_of"
    assert account.num_under_way == 0
    first = await scheduler.submit_choices(from_key(account), 2)
    assert account.num_under_way == 2
    with pytest.raises(RateLimited):  # the second of these two would be the fourth at a time
        await scheduler.submit_choices(from_key(account), 2)
    for session in first:
        session.cancel()
    await scheduler.active.ended()
    assert (account.num_under_way, len(scheduler.active)) == (0, 0)


async def test_counting_tokens_is_a_request_of_the_key(start_scheduler: Callable[..., Any]) -> None:
    scheduler = await start_scheduler()
    assert await scheduler.count_tokens(request()) == 7
    account = Account("mine", Limits(requests_per_minute=1))
    assert await scheduler.count_tokens(from_key(account)) == 7
    with pytest.raises(RateLimited):
        await scheduler.count_tokens(from_key(account))
    with pytest.raises(InvalidRequest) as refused:
        await scheduler.count_tokens(request(budget_tokens=513, field_names={"budget": "thinking.budget"}))
    assert refused.value.field == "thinking.budget"
    await scheduler.stop()
    with pytest.raises(Unavailable):
        await scheduler.count_tokens(request())


async def test_refusal_of_a_server_that_cannot_answer_names_when_to_retry(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    engine = scripted()
    scheduler = Scheduler(tiny_model, engine, measure_speed=False)

    async def refusal() -> tuple[str, float | None]:
        with pytest.raises(Unavailable) as refused:
            await scheduler.submit(request())
        return str(refused.value), refused.value.retry_after_s

    assert await refusal() == ("the model is loading", RESTART_S)
    await scheduler.start()
    await engine.stop()
    assert await refusal() == ("the engine is being restarted", RESTART_S)
    await engine.start()
    scheduler.drain(grace_s=30)
    assert await refusal() == ("the server is draining", RESTART_S)
    await scheduler.stop()
    assert await refusal() == ("the server has stopped", None)
