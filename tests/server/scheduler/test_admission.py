"""Admission: the length of the queue, and the limits of an account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from anytime_server.auth import Account, Admission
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
    assert isinstance((await read_all(await scheduler.submit(request())))[-1], events.Done)
    await scheduler.stop()


class RecordingAccount(Account):
    """An account that records its admissions."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.log: list[tuple[str, int]] = []

    def admit(self, budget_tokens: int) -> Admission:
        self.log.append(("admit", budget_tokens))
        return RecordingAdmission(self, budget_tokens)


class RecordingAdmission(Admission):
    def extend(self, tokens: int) -> None:
        self._log.append(("extend", tokens))

    def end(self, thinking_tokens: int) -> None:
        self._log.append(("end", thinking_tokens))

    @property
    def _log(self) -> list[tuple[str, int]]:
        assert isinstance(self.account, RecordingAccount)
        return self.account.log


async def test_account_is_charged_for_thinking_and_controls_only_its_own_sessions(
    start_scheduler: Callable[..., Any],
) -> None:
    scheduler = await start_scheduler(never_end=True, seconds_per_token=0.002)
    mine, other = RecordingAccount("mine"), RecordingAccount("other")
    session = await scheduler.submit(request(budget_tokens=6, context=RequestContext(account=mine)))
    for stranger in (other, None):
        with pytest.raises(UnknownSession):
            scheduler.find(session.request.id, account=stranger)
        with pytest.raises(UnknownSession):
            scheduler.extend(session.request.id, 3, account=stranger)
    assert scheduler.extend(session.request.id, 3, account=Account("mine")) == (9, session.thinking_tokens)
    await read_all(session)
    assert mine.log == [("admit", 6), ("extend", 3), ("end", 9)]
    assert other.log == []
    cancelled = await scheduler.submit(request(budget_tokens=60, context=RequestContext(account=mine)))
    cancelled.cancel()
    await cancelled.ended()
    assert mine.log[3:] == [("admit", 60), ("end", cancelled.thinking_tokens)]


async def test_request_refused_by_the_account_leaves_nothing(start_scheduler: Callable[..., Any]) -> None:
    class ExhaustedAccount(Account):
        def admit(self, budget_tokens: int) -> Admission:
            raise RateLimited("no tokens left")

    scheduler = await start_scheduler()
    with pytest.raises(RateLimited):
        await scheduler.submit(request(context=RequestContext(account=ExhaustedAccount("poor"))))
    assert (len(scheduler.active), scheduler.engine.load().num_requests) == (0, 0)


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
    for fields in ({"budget_tokens": 9999}, {"total_tokens": 9999}):
        with pytest.raises(InvalidRequest, match="window"):
            await scheduler.submit(request(**fields))
    await scheduler.stop()
