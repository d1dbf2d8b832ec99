"""Provisional answers: forks of the thinking while it goes on.

A fork at a budget answers from exactly the thinking that a request with that budget alone would have
had. Probes are forks at regular distances, whose answers are compared.
"""

from __future__ import annotations

import asyncio
import bisect
import logging
from collections import deque
from collections.abc import Callable, Sequence

from anytime_server.errors import AnytimeError
from anytime_server.reasoning import normalized_answer
from anytime_server.session.answer import Answering, AnswerResult
from anytime_server.session.events import Answer
from anytime_server.session.request import CompiledRequest

logger = logging.getLogger(__name__)


class EarlyAnswers:
    """The provisional answers of one request. What goes wrong with one costs that one alone."""

    def __init__(
        self,
        request: CompiledRequest,
        *,
        answer: Callable[[Sequence[int], bool], Answering],
        on_stable: Callable[[], None],
    ) -> None:
        """
        Args:
            answer: makes a provisional answer to some thinking, not yet begun; and whether it is
                there for comparison alone.
            on_stable: called when the probes agree.
        """
        self.sampled_tokens = 0
        """Tokens that they took, also those that were dropped."""
        self.leaked_tokens = 0
        """Of those, thinking that is not shown."""
        self.agreed: AnswerResult | None = None
        """The answer that the probes agree on, as the last of them gave it."""
        self._request = request
        self._answer = answer
        self._on_stable = on_stable
        self._thinking_ids: Sequence[int] = ()
        self._num_reached = -1
        self._asked_waiting: deque[int] = deque()
        """Thinking tokens at which answers are due that the client asked for."""
        self._probes_waiting: deque[int] = deque()
        """The same of those that are there for comparison alone."""
        self._asked: set[asyncio.Task[None]] = set()
        self._probes: set[asyncio.Task[None]] = set()
        self._agreement = None if request.stop_when is None else Agreement(request)

    def reach(self, thinking_ids: Sequence[int], count: int) -> None:
        """So many tokens of the thinking are there, and more will follow: fork where that is due.

        Args:
            thinking_ids: grows while the thinking goes on, and is not changed otherwise.
        """
        self._thinking_ids = thinking_ids
        for at_tokens in self._due(count):
            (self._asked_waiting if self._is_asked(at_tokens) else self._probes_waiting).append(at_tokens)
        self._num_reached = max(self._num_reached, count)
        self._begin()

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

    def _begin(self) -> None:
        """As many as there are seats for; those that the client asked for first."""
        while len(self._asked) + len(self._probes) < max(1, self._request.num_forks):
            if self._asked_waiting:
                at_tokens, tasks = self._asked_waiting.popleft(), self._asked
            elif self._probes_waiting:
                at_tokens, tasks = self._probes_waiting.popleft(), self._probes
            else:
                return
            task = asyncio.create_task(self._fork(at_tokens, is_probe=tasks is self._probes))
            tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._asked.discard(task)
        self._probes.discard(task)
        self._begin()

    async def _fork(self, at_tokens: int, *, is_probe: bool) -> None:
        result: AnswerResult | None = None
        answering = self._answer(self._thinking_ids[:at_tokens], is_probe)
        try:
            result = await answering.run()
        except AnytimeError as error:
            logger.warning("%s: no provisional answer at %d: %s", self._request.id, at_tokens, error)
        except Exception:
            logger.exception("%s: no provisional answer at %d", self._request.id, at_tokens)
        finally:
            self.sampled_tokens += answering.sampled_tokens
            self.leaked_tokens += answering.leaked_tokens
        if self._agreement is not None:
            self.agreed = self.agreed or self._agreement.take(at_tokens, result)
            if self.agreed is not None:
                self._on_stable()

    def drop_probes(self) -> None:
        """The thinking is over: what was there for comparison is of no use any more."""
        self._probes_waiting.clear()
        for task in self._probes:
            task.cancel()

    async def finish(self) -> None:
        """Wait for those that the client asked for."""
        while self._asked_waiting or self._asked:
            await asyncio.wait(self._asked | self._probes, return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Drop all that are left, and wait until the engine is rid of them."""
        self._asked_waiting.clear()
        self._probes_waiting.clear()
        left = self._asked | self._probes
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


class Agreement:
    """Whether the probes' answers have become the same; they may come in any order."""

    def __init__(self, request: CompiledRequest) -> None:
        assert request.stop_when is not None
        self._stop_when = request.stop_when
        self._results: dict[int, AnswerResult | None] = {}
        self._judged_tokens = 0
        self._answer: str | None = None
        self._num_agreed = 0

    def take(self, at_tokens: int, result: AnswerResult | None) -> AnswerResult | None:
        """Take in the answer at so many tokens, None if there is none.

        Returns:
            The last of those that agree, once there are enough.
        """
        every = self._stop_when.every_tokens
        if at_tokens == 0 or at_tokens % every:
            return None
        self._results[at_tokens] = result
        while (following := self._judged_tokens + every) in self._results:
            self._judged_tokens = following
            judged = self._results.pop(following)
            self._judge(judged)
            if self._num_agreed == self._stop_when.stable:
                return judged
        return None

    def _judge(self, result: AnswerResult | None) -> None:
        if result is None or not self._is_sure(result.answer):
            self._answer, self._num_agreed = None, 0
            return
        answer = normalized_answer(result.answer.text)
        self._num_agreed = self._num_agreed + 1 if answer == self._answer else 1
        self._answer = answer

    def _is_sure(self, answer: Answer) -> bool:
        least = self._stop_when.min_confidence
        if not least:
            return True
        assert answer.confidence is not None
        return answer.confidence >= least
