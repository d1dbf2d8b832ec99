"""Early answers: sampled from the thinking until now, while it goes on.

An early answer at a budget is based on exactly the thinking that a request with that budget alone would
have had. Probes are early answers at regular distances, whose texts are compared.
"""

from __future__ import annotations

import asyncio
import bisect
import logging
from collections import deque
from collections.abc import Iterator, Sequence

from anytime_server.errors import AnytimeError
from anytime_server.reasoning import Cause, normalized_answer
from anytime_server.session.answer import AnswerPhase, AnswerResult
from anytime_server.session.event_queue import EventQueue
from anytime_server.session.request import CompiledRequest
from anytime_server.session.runtime import Runtime

logger = logging.getLogger(__name__)


class EarlyAnswers:
    """The early answers of one request. A failure of one does not affect the others or the session."""

    def __init__(
        self, request: CompiledRequest, *, runtime: Runtime, queue: EventQueue, indices: Iterator[int]
    ) -> None:
        """
        Args:
            indices: of the session's answers, in the order in which they begin.
        """
        self.sampled_tokens = 0
        """Tokens sampled for early answers, those of dropped ones included."""
        self.leaked_tokens = 0
        """Of those, thinking that is not shown."""
        self.tool_parser_failures = 0
        self.agreed: asyncio.Future[AnswerResult] = asyncio.get_running_loop().create_future()
        """The answer that the probes agree on, as the last of them gave it; done once they agree."""
        self._request = request
        self._runtime = runtime
        self._queue = queue
        self._indices = indices
        self._thinking_ids: Sequence[int] = ()
        self._num_reached = -1
        self._requested_at: deque[int] = deque()
        """Thinking tokens at which answers are due that the client requested."""
        self._probes_at: deque[int] = deque()
        """Thinking tokens at which probes are due."""
        self._requested: set[asyncio.Task[None]] = set()
        self._probes: set[asyncio.Task[None]] = set()
        self._comparison = None if request.stop_when is None else AnswerComparison(request)

    def reach(self, thinking_ids: Sequence[int], num_certain: int) -> None:
        """Start the early answers that are due.

        Args:
            thinking_ids: grows while the thinking goes on, and is not changed otherwise.
            num_certain: tokens of it that are certain to be followed by more thinking.
        """
        self._thinking_ids = thinking_ids
        for at_tokens in self._due(num_certain):
            (self._requested_at if self._is_requested(at_tokens) else self._probes_at).append(at_tokens)
        self._num_reached = max(self._num_reached, num_certain)
        self._start_next()

    def _due(self, num_certain: int) -> list[int]:
        budgets, first = self._request.budgets, self._num_reached + 1
        due = {*budgets[bisect.bisect_left(budgets, first) : bisect.bisect_right(budgets, num_certain)]}
        if (stop_when := self._request.stop_when) is not None:
            every = stop_when.every_tokens
            due.update(range(max(every, -(-first // every) * every), num_certain + 1, every))
        return sorted(due)

    def _is_requested(self, at_tokens: int) -> bool:
        budgets = self._request.budgets
        position = bisect.bisect_left(budgets, at_tokens)
        return position < len(budgets) and budgets[position] == at_tokens

    def _start_next(self) -> None:
        """Start as many as may be sampled at the same time; requested answers come before probes."""
        while len(self._requested) + len(self._probes) < max(1, self._request.max_early_answers):
            if self._requested_at:
                at_tokens, tasks = self._requested_at.popleft(), self._requested
            elif self._probes_at:
                at_tokens, tasks = self._probes_at.popleft(), self._probes
            else:
                return
            task = asyncio.create_task(self._answer(at_tokens, is_probe=tasks is self._probes))
            tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._requested.discard(task)
        self._probes.discard(task)
        self._start_next()

    async def _answer(self, at_tokens: int, *, is_probe: bool) -> None:
        request = self._request
        # A probe may be dropped at any time: its events are emitted once it is whole.
        queue = EventQueue() if is_probe else self._queue
        phase = AnswerPhase(
            request,
            request.truncate(self._thinking_ids[:at_tokens], Cause.BUDGET, self._runtime.model),
            index=next(self._indices),
            provisional=True,
            runtime=self._runtime,
            queue=queue,
        )
        result: AnswerResult | None = None
        try:
            sampled = await phase.run()
            assert isinstance(sampled, AnswerResult)  # it may not think again
            result = sampled
        except AnytimeError as error:
            logger.warning("%s: no early answer at %d: %s", self._request.id, at_tokens, error)
        except Exception:
            logger.exception("%s: no early answer at %d", self._request.id, at_tokens)
        finally:
            self.sampled_tokens += phase.sampled_tokens
            self.leaked_tokens += phase.leaked_tokens
            self.tool_parser_failures += phase.tool_parser_failures
        if is_probe and result is not None:
            for event in queue.take():
                self._queue.emit(event)
        if self._comparison is not None and not self.agreed.done():
            agreed = self._comparison.add(at_tokens, result)
            if agreed is not None:
                self.agreed.set_result(agreed)

    def drop_probes(self) -> None:
        """End the probes: the thinking is over, and comparing answers is of no use any more."""
        self._probes_at.clear()
        for task in self._probes:
            task.cancel()

    async def finish(self) -> None:
        """Wait for the answers that the client requested."""
        while self._requested_at or self._requested:
            await asyncio.wait(self._requested | self._probes, return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Drop all that are left, and wait until the engine is rid of them."""
        self._requested_at.clear()
        self._probes_at.clear()
        left = self._requested | self._probes
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


class AnswerComparison:
    """Whether the probes' answers have become the same; they may arrive in any order."""

    def __init__(self, request: CompiledRequest) -> None:
        assert request.stop_when is not None
        self._stop_when = request.stop_when
        self._results: dict[int, AnswerResult | None] = {}
        self._compared_tokens = 0
        self._answer: str | None = None
        self._num_agreed = 0

    def add(self, at_tokens: int, result: AnswerResult | None) -> AnswerResult | None:
        """Add the answer at a number of thinking tokens; None where there is none.

        Returns:
            The last of those that agree, once there are enough.
        """
        every = self._stop_when.every_tokens
        if at_tokens == 0 or at_tokens % every:
            return None
        self._results[at_tokens] = result
        while (following := self._compared_tokens + every) in self._results:
            self._compared_tokens = following
            compared = self._results.pop(following)
            self._compare(compared)
            if self._num_agreed == self._stop_when.stable:
                return compared
        return None

    def _compare(self, result: AnswerResult | None) -> None:
        if result is None or not self._is_confident(result):
            self._answer = None
            return
        answer = normalized_answer(result.text.sampled_text)
        self._num_agreed = self._num_agreed + 1 if answer == self._answer else 1
        self._answer = answer

    def _is_confident(self, result: AnswerResult) -> bool:
        least = self._stop_when.min_confidence
        if not least:
            return True
        assert result.answer.confidence is not None
        return result.answer.confidence >= least
