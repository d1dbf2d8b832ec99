"""The sessions of one chat completion, one for each choice: they begin and end together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from fastapi import Request

from anytime_server.api.sse import Transcript, collect
from anytime_server.auth import Account
from anytime_server.errors import AlreadyAnswering
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.session import Session, events
from anytime_server.types import GenerateRequest

NOT_UNDER_WAY = "no active completion for this id"


class Choices:
    """Sessions under way that answer one request."""

    def __init__(self, sessions: Sequence[Session], *, is_controllable: bool) -> None:
        self._sessions = sessions
        self._is_controllable = is_controllable
        self.id = sessions[0].request.id
        """Of the whole completion: the first session's."""

    @classmethod
    async def open(
        cls, service: Scheduler, question: GenerateRequest, *, num_choices: int, is_controllable: bool
    ) -> Choices:
        """Open as many sessions, of consecutive seeds, or none.

        Args:
            is_controllable: whether their thinking can be ended from outside.

        Raises:
            AnytimeError: one of them is refused.
        """
        if (account := question.arrival.account) is not None:
            account.require_size(num_choices, field="n")
        sessions: list[Session] = []
        try:
            for number in range(num_choices):
                seed = None if question.seed is None else _wrapped(question.seed + number)
                sessions.append(await service.open(replace(question, seed=seed)))
        except BaseException:
            for session in sessions:
                session.abandon()
            raise
        return cls(sessions, is_controllable=is_controllable)

    async def read(self, *, idle_s: float) -> AsyncGenerator[list[tuple[int, events.Event]], None]:
        """Batches of events as they come, each with the index of its choice.

        Ends once all choices are done, or with the first error, which ends all. Closing it abandons them.

        Args:
            idle_s: after so many seconds without an event comes an empty batch.
        """
        if len(self._sessions) == 1:
            async with aclosing(self._sessions[0].read(idle_s=idle_s)) as batches:
                async for batch in batches:
                    yield [(0, event) for event in batch]
            return
        # Bounded, so that what is not read stays with the sessions, which merge it.
        said: asyncio.Queue[list[tuple[int, events.Event]]] = asyncio.Queue(maxsize=len(self._sessions))

        async def pass_on(index: int, session: Session) -> None:
            async with aclosing(session.read()) as batches:
                async for batch in batches:
                    await said.put([(index, event) for event in batch])

        readers = [asyncio.create_task(pass_on(*numbered)) for numbered in enumerate(self._sessions)]
        num_under_way = len(readers)
        try:
            while num_under_way:
                try:
                    async with asyncio.timeout(idle_s):
                        batch = await said.get()
                except TimeoutError:
                    yield []
                    continue
                yield batch
                _, last = batch[-1]
                if isinstance(last, events.ErrorEvent):
                    return
                num_under_way -= isinstance(last, events.Done)
        finally:
            self._abandon()
            for reader in readers:
                reader.cancel()

    async def collect(self, request: Request) -> list[Transcript]:
        """Wait for all to end, and for what they said.

        Raises:
            AnytimeError: what ended one of them otherwise, and with it all; `SessionCancelled` if the client
                went away.
        """
        try:
            return await asyncio.gather(*(collect(session, request) for session in self._sessions))
        finally:
            self._abandon()

    def end_thinking(self, account: Account | None) -> str | None:
        """Have all that think answer now.

        Args:
            account: who wants it; must be the one who asked.

        Returns:
            Why none does, or None.
        """
        arrival = self._sessions[0].request.arrival
        if not arrival.is_from(account) or all(session.phase == "ended" for session in self._sessions):
            return NOT_UNDER_WAY
        if not self._is_controllable:
            return "reasoning control not enabled for this completion"
        num_told = 0
        for session in self._sessions:
            try:
                session.answer_now()
            except AlreadyAnswering:
                continue
            num_told += 1
        return None if num_told else "the completion is answering already"

    def _abandon(self) -> None:
        for session in self._sessions:
            session.abandon()


def _wrapped(seed: int) -> int:
    """The same within 64 bits."""
    return (seed + 2**63) % 2**64 - 2**63
