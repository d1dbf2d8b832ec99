"""Provisional answers: forks of the thinking while it goes on.

A fork at a budget answers from exactly the thinking that a request with that budget alone would have
had. Probes are forks at regular distances, whose answers are compared.
"""

from __future__ import annotations

import asyncio
import bisect
import logging
from collections.abc import Callable, Sequence

from anytime_server.errors import AnytimeError, EmptyAnswer
from anytime_server.reasoning import normalized_answer
from anytime_server.session.answering import Answering, AnswerResult
from anytime_server.session.request import SessionRequest

logger = logging.getLogger(__name__)


class Forks:
    """The provisional answers of one request."""

    def __init__(
        self,
        request: SessionRequest,
        *,
        answer: Callable[[Sequence[int]], Answering],
        on_stable: Callable[[], None],
    ) -> None:
        """
        Args:
            answer: makes a provisional answer to some thinking, not yet begun.
            on_stable: called once, when the probes agree.
        """
        self.error: AnytimeError | None = None
        """What went wrong with one of them."""
        self._request = request
        self._answer = answer
        self._on_stable = on_stable
        self._seats = asyncio.Semaphore(max(1, request.num_forks))
        self._num_reached = -1
        self._answerings: list[Answering] = []
        self._asked: set[asyncio.Task[None]] = set()
        """Those that the client asked for."""
        self._probes: set[asyncio.Task[None]] = set()
        """Those that are there for comparison alone."""
        self._agreement = None if request.stop_when is None else Agreement(request)

    @property
    def sampled_tokens(self) -> int:
        """Tokens that they took, also those that were dropped."""
        return sum(answering.sampled_tokens for answering in self._answerings)

    @property
    def leaked_tokens(self) -> int:
        return sum(answering.leaked_tokens for answering in self._answerings)

    def reach(self, thinking_ids: Sequence[int], count: int) -> None:
        """So many tokens of the thinking are there, and more will follow: fork where that is due."""
        for at_tokens in self._due(count):
            is_asked = self._is_asked(at_tokens)
            task = asyncio.create_task(self._fork(tuple(thinking_ids[:at_tokens])))
            tasks = self._asked if is_asked else self._probes
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        self._num_reached = max(self._num_reached, count)

    def _due(self, count: int) -> list[int]:
        budgets, first = self._request.budgets, self._num_reached + 1
        due = {*budgets[bisect.bisect_left(budgets, first) : bisect.bisect_right(budgets, count)]}
        if (stop_when := self._request.stop_when) is not None:
            every = stop_when.every_tokens
            due.update(range(max(every, -(-first // every) * every), count + 1, every))
        return sorted(due)

    def _is_asked(self, at_tokens: int) -> bool:
        budgets = self._request.budgets
        place = bisect.bisect_left(budgets, at_tokens)
        return place < len(budgets) and budgets[place] == at_tokens

    async def _fork(self, thinking_ids: Sequence[int]) -> None:
        result: AnswerResult | None = None
        try:
            async with self._seats:
                answering = self._answer(thinking_ids)
                self._answerings.append(answering)
                result = await answering.run()
        except EmptyAnswer as error:
            logger.info("%s: no provisional answer at %d: %s", self._request.id, len(thinking_ids), error)
        except AnytimeError as error:
            self.error = error
        except Exception:
            logger.exception("a provisional answer of %s failed", self._request.id)
            self.error = AnytimeError("an unexpected error ended a provisional answer")
        if self._agreement is not None and self._agreement.take(len(thinking_ids), result):
            self._on_stable()

    def drop_probes(self) -> None:
        """The thinking is over: what was there for comparison is of no use any more."""
        for task in self._probes:
            task.cancel()

    async def finish(self) -> None:
        """Wait for those that the client asked for.

        Raises:
            AnytimeError: one of them failed, for another reason than that it was blank.
        """
        if self._asked:
            await asyncio.wait(self._asked)
        if self.error is not None:
            raise self.error

    async def close(self) -> None:
        """Drop all that are left, and wait until the engine is rid of them."""
        left = self._asked | self._probes
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


class Agreement:
    """Whether the probes' answers have become the same; they may come in any order."""

    def __init__(self, request: SessionRequest) -> None:
        assert request.stop_when is not None
        self._stop_when = request.stop_when
        self._results: dict[int, AnswerResult | None] = {}
        self._judged_tokens = 0
        self._answer: str | None = None
        self._num_agreed = 0

    def take(self, at_tokens: int, result: AnswerResult | None) -> bool:
        """Take in the answer at so many tokens, None if there is none; whether enough agree, told once."""
        every = self._stop_when.every_tokens
        if at_tokens == 0 or at_tokens % every:
            return False
        self._results[at_tokens] = result
        while (following := self._judged_tokens + every) in self._results:
            self._judged_tokens = following
            self._judge(self._results.pop(following))
            if self._num_agreed == self._stop_when.stable:
                return True
        return False

    def _judge(self, result: AnswerResult | None) -> None:
        if result is None or result.answer.confidence < self._stop_when.min_confidence:
            self._answer, self._num_agreed = None, 0
            return
        answer = normalized_answer(result.answer.text)
        self._num_agreed = self._num_agreed + 1 if answer == self._answer else 1
        self._answer = answer
