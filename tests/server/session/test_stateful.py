"""Sessions of one service, whatever comes over them in whatever order, in virtual time.

Hypothesis makes up what happens; beside it a simple model says what may come of it.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from anytime_server.engine.scripted import Script, ScriptedEngine
from anytime_server.errors import AlreadyAnswering, Overloaded, Unavailable, UnknownSession
from anytime_server.reasoning import Cause
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.session import Session, events
from anytime_server.text.model import Model
from anytime_server.types import GenerateRequest, StopWhen
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from virtual_time import virtual_time

TOKEN_S, SETTLED_S = 1.0, 0.01
"""What a token takes, and a time in which all that follows at once has happened."""
ALL_DONE_S = 100_000
MAX_WAITING = 2
DRAIN_S = 10


@dataclass(slots=True, kw_only=True)
class Run:
    """A session, and what is known of it from outside."""

    session: Session
    budget: int
    """In force: as it was resolved, and extended."""
    has_deadline: bool
    said: list[events.Event] = field(default_factory=list)
    reader: asyncio.Task[None] | None = None
    answered_at: int | None = None
    """What `answer_now()` said."""
    is_cancelled: bool = False
    is_abandoned: bool = False

    async def read(self) -> None:
        async for batch in self.session.read():
            self.said += batch

    @property
    def thinking(self) -> list[events.ThinkingDelta]:
        return [event for event in self.said if isinstance(event, events.ThinkingDelta)]

    @property
    def has_ended(self) -> bool:
        return bool(self.said) and isinstance(self.said[-1], events.Done | events.Failed)

    @property
    def answers(self) -> bool:
        return (
            self.answered_at is not None
            or self.budget == 0
            or any(isinstance(event, events.AnswerStarted) and not event.provisional for event in self.said)
        )


@st.composite
def questions(draw: st.DrawFn) -> GenerateRequest:
    budget = draw(st.none() | st.integers(0, 50))
    budgets = draw(st.lists(st.integers(0, 50 if budget is None else budget), max_size=3, unique=True))
    stable = draw(st.none() | st.integers(2, 3))
    return GenerateRequest(
        messages=[{"role": "user", "content": "7-3"}],
        budget_tokens=budget,
        budgets=tuple(sorted(budgets)),
        stop_when=None if stable is None else StopWhen(stable=stable, every_tokens=5),
        deadline_s=draw(st.none() | st.integers(0, 60)),
    )


class Sessions(RuleBasedStateMachine):
    """Two places for thinking, one more for answers, and a line of two."""

    runs = Bundle("runs")

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model = model
        self._all: list[Run] = []
        self._clock = ExitStack()
        self._runner = self._clock.enter_context(virtual_time())
        self._is_draining = self._is_dead = False

    def _now(self, work: Any = None) -> Any:
        """Do it, and let all that follows from it happen."""

        async def all_of_it() -> Any:
            try:
                return None if work is None else await work
            finally:
                await asyncio.sleep(SETTLED_S)

        return self._runner.run(all_of_it())

    @initialize(
        target=runs,
        thinking_tokens=st.none() | st.integers(1, 60),
        settle_after=st.integers(0, 30),
        fault=st.sampled_from(["none", "none", "blank_answer", "eos_in_thinking", "reopened_thinking"]),
        first=st.lists(questions(), min_size=1, max_size=4),
    )
    def start(self, first: list[GenerateRequest], **script: Any) -> Any:
        playing = Script(seconds_per_token=TOKEN_S, never_end=script["thinking_tokens"] is None, **script)
        engine = ScriptedEngine(
            self._model.tokenizer, self._model.reasoning, script=playing, window_tokens=256, max_num_seqs=2
        )
        self._service = Scheduler(self._model, engine, measure_speed=False, max_waiting=MAX_WAITING)
        self._now(self._service.start())
        return multiple(*(run for question in first for run in self._open(question, reads=True)))

    @rule(target=runs, question=questions(), reads=st.booleans())
    def open(self, question: GenerateRequest, reads: bool) -> Any:
        return multiple(*self._open(question, reads=reads))

    def _open(self, question: GenerateRequest, *, reads: bool) -> list[Run]:
        if self._is_draining or self._is_dead:
            with pytest.raises(Unavailable):
                self._now(self._service.submit(question))
            return []
        num_waiting = sum(run.session.phase == "waiting" for run in self._all)
        try:
            session = self._now(self._service.submit(question))
        except Overloaded:
            assert num_waiting >= MAX_WAITING
            return []
        resolved = session.request.limits
        run = Run(
            session=session, budget=resolved.budget_tokens, has_deadline=question.deadline_s is not None
        )
        self._all.append(run)
        if reads:
            self._read(run)
        return [run]

    def _read(self, run: Run) -> None:
        if run.reader is None:
            run.reader = self._runner.get_loop().create_task(run.read())
            self._now()

    @rule(run=runs)
    def read(self, run: Run) -> None:
        self._read(run)

    @rule(tokens=st.integers(1, 40))
    def pass_time(self, tokens: int) -> None:
        self._now(asyncio.sleep(tokens * TOKEN_S))

    @rule(run=runs)
    def answer_now(self, run: Run) -> None:
        at_tokens = self._control(run, lambda session: session.answer_now())
        if at_tokens is not None:
            run.answered_at = at_tokens
            if run.thinking:
                assert at_tokens == run.thinking[-1].total_tokens

    @rule(run=runs, tokens=st.sampled_from([1, 10, 500]))
    def extend(self, run: Run, tokens: int) -> None:
        most_tokens = run.session.request.limits.max_budget_tokens
        told = self._control(
            run, lambda session: self._service.extend(session.request.id, tokens, account=None)
        )
        if told is not None:
            run.budget = max(run.budget, min(run.budget + tokens, most_tokens))
            assert told[0] == run.budget

    def _control(self, run: Run, use: Any) -> Any:
        """What it gives, or None where it is refused; it must be if, and only if, that is no wonder."""

        has_ended, answers = run.has_ended, run.answers

        async def control() -> Any:
            return use(self._service.find(run.session.request.id, account=None))

        try:
            told = self._now(control())
        except UnknownSession:
            assert has_ended or run.reader is None
            return None
        except AlreadyAnswering:
            assert answers or run.reader is None or run.has_deadline or self._is_draining
            return None
        assert not has_ended
        assert not answers
        assert not run.is_cancelled
        return told

    @rule(run=runs)
    def cancel(self, run: Run) -> None:
        async def cancel() -> None:
            self._service.find(run.session.request.id, account=None).cancel()
            run.is_cancelled = True

        with suppress(UnknownSession):
            self._now(cancel())

    @rule(run=consumes(runs))
    def leave(self, run: Run) -> None:
        if run.reader is None:
            return  # who never came cannot leave
        run.is_abandoned = not run.has_ended
        run.reader.cancel()
        self._now()
        self._all.remove(run)
        with pytest.raises(UnknownSession):
            self._service.find(run.session.request.id, account=None)

    @precondition(lambda self: not self._is_draining)
    @rule()
    def drain(self) -> None:
        async def drain() -> None:
            self._service.drain(grace_s=DRAIN_S)

        self._is_draining = True
        self._now(drain())

    @precondition(lambda self: len(self._all) >= 3 and not self._is_dead)
    @rule()
    def die(self) -> None:
        self._is_dead = True
        self._now(self._service.engine.stop())

    @invariant()
    def budgets_are_kept(self) -> None:
        for run in self._all:
            counts = [event.total_tokens for event in run.thinking]
            assert counts == sorted(counts)
            assert all(count <= run.budget for count in counts)
            assert not run.thinking or run.session.thinking_tokens <= run.budget

    @invariant()
    def events_are_in_order(self) -> None:
        for run in self._all:
            _check_order(run.said)

    def teardown(self) -> None:
        try:
            if hasattr(self, "_service"):
                self._end()
        finally:
            self._clock.close()
        super().teardown()

    def _end(self) -> None:
        """Whatever happened: all of them end, each as it should, and nothing is left of them."""
        for run in self._all:
            self._read(run)

        async def all_over() -> None:
            async with asyncio.timeout(ALL_DONE_S):
                await asyncio.gather(*(run.reader for run in self._all if run.reader is not None))

        self._now(all_over())
        for run in self._all:
            _check_order(run.said)
            self._check_end(run)
        service = self._service
        assert len(service.active) == 0
        assert service.engine.load().num_requests == 0
        assert service.active.slots.num_held == service.active.slots.num_wanted == 0
        if self._is_draining:
            self._now(service.drained())
        assert asyncio.all_tasks(self._runner.get_loop()) == set()

    def _check_end(self, run: Run) -> None:
        last = run.said[-1]
        if isinstance(last, events.Failed):
            reasons = {
                "cancelled": run.is_cancelled,
                "unavailable": self._is_draining,
                "engine_dead": self._is_dead,
            }
            assert reasons[last.error.code]
            return
        assert isinstance(last, events.Done)
        assert not run.is_cancelled
        stop = last.stop
        assert last.answer.strip()
        assert stop.budget_tokens == run.budget
        assert stop.thinking_tokens <= run.budget
        text = "".join(event.text for event in run.thinking)
        assert stop.thinking_tokens - len(text) == (stop.cause is Cause.NATURAL)
        if run.answered_at is not None:
            assert (stop.cause, stop.thinking_tokens) == (Cause.CLIENT, run.answered_at)
        elif not run.has_deadline and not self._is_draining:
            assert stop.cause in {Cause.NATURAL, Cause.BUDGET, Cause.STABLE, Cause.CONTEXT}


def _check_order(said: list[events.Event]) -> None:
    """`started`, thinking and provisional answers, the answer, one end; or as much of it as there is yet."""
    open_answers, is_last, has_ended = dict[int, str](), False, False
    for number, event in enumerate(said):
        assert not has_ended
        assert isinstance(event, events.Started) == (number == 0)
        match event:
            case events.ThinkingDelta():
                assert not is_last
            case events.AnswerStarted():
                assert event.index not in open_answers
                open_answers[event.index] = ""
                assert not (is_last and not event.provisional)
                is_last = is_last or not event.provisional
            case events.AnswerDelta():
                open_answers[event.index] += event.text
            case events.AnswerDone():
                assert open_answers[event.index] == event.text != ""
            case events.Done() | events.Failed():
                has_ended = True


def test_whatever_comes_over_sessions(tiny_model: Model) -> None:
    run_state_machine_as_test(lambda: Sessions(tiny_model))  # pyright: ignore[reportArgumentType] (any factory)
