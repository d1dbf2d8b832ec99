"""Random sequences of requests, controls and faults on one scheduler, in virtual time.

Hypothesis draws the sequence; a simple model of each session says which results are allowed.
"""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from anytime_server.auth import Account, Limits
from anytime_server.engine.scripted import Script, ScriptedEngine
from anytime_server.errors import AlreadyAnswering, Overloaded, Unavailable, UnknownSession
from anytime_server.reasoning import Cause
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.session import Session, events, most_cost
from anytime_server.text.model import Model
from anytime_server.types import GenerateRequest, RequestContext, StopWhen
from hypothesis import settings
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

from .virtual_time import virtual_time

TOKEN_S, SETTLED_S = 1.0, 0.01
"""Seconds that a token takes, and seconds in which all immediate consequences have happened."""
END_S = 100_000
MAX_WAITING = 2
DRAIN_S = 10
MANY = 10**9


@dataclass(slots=True, kw_only=True)
class SessionRun:
    """A session, its events, and the controls that were applied to it."""

    session: Session
    budget_tokens: int
    """The budget that applies: compiled, then extended."""
    has_deadline: bool
    emitted: list[events.Event] = field(default_factory=list)
    reader: asyncio.Task[None] | None = None
    answer_now_tokens: int | None = None
    """Thinking tokens that `answer_now()` returned."""
    is_cancelled: bool = False
    is_abandoned: bool = False

    async def read(self) -> None:
        async for batch in self.session.read():
            self.emitted += batch

    @property
    def thinking(self) -> list[events.ThinkingDelta]:
        return [event for event in self.emitted if isinstance(event, events.ThinkingDelta)]

    @property
    def has_ended(self) -> bool:
        return bool(self.emitted) and isinstance(self.emitted[-1], events.Done | events.Failed)

    @property
    def is_answering(self) -> bool:
        return (
            self.answer_now_tokens is not None
            or self.budget_tokens == 0
            or any(
                isinstance(event, events.AnswerStarted) and not event.provisional for event in self.emitted
            )
        )


@st.composite
def requests(draw: st.DrawFn) -> GenerateRequest:
    budget_tokens = draw(st.none() | st.integers(0, 50))
    budgets = draw(
        st.lists(st.integers(0, 50 if budget_tokens is None else budget_tokens), max_size=3, unique=True)
    )
    stable = draw(st.none() | st.integers(2, 3))
    return GenerateRequest(
        messages=[{"role": "user", "content": "7-3"}],
        budget_tokens=budget_tokens,
        budgets=tuple(sorted(budgets)),
        stop_when=None if stable is None else StopWhen(stable=stable, every_tokens=5),
        deadline_s=draw(st.none() | st.integers(0, 60)),
    )


class SchedulerMachine(RuleBasedStateMachine):
    """Two slots for thinking, one more for answers, and a queue of two."""

    runs = Bundle("runs")

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model = model
        self._runs: list[SessionRun] = []
        self._sessions: list[Session] = []
        limits = Limits(
            max_waiting=MAX_WAITING, **dict.fromkeys(("tokens_per_day", "thinking_tokens_per_minute"), MANY)
        )
        self._account = Account("alice", limits, clock_ns=lambda: 0)
        self._clock = ExitStack()
        self._runner = self._clock.enter_context(virtual_time())
        self._is_draining = self._is_dead = False

    def _now(self, work: Any = None) -> Any:
        """Await `work`, let its immediate consequences happen, and return its result."""

        async def work_and_settle() -> Any:
            try:
                return None if work is None else await work
            finally:
                await asyncio.sleep(SETTLED_S)

        return self._runner.run(work_and_settle())

    @initialize(
        target=runs,
        thinking_tokens=st.none() | st.integers(1, 60),
        settle_after=st.integers(0, 30),
        fault=st.sampled_from(["none", "none", "blank_answer", "eos_in_thinking", "think_end_twice"]),
        first=st.lists(requests(), min_size=1, max_size=4),
    )
    def start(self, first: list[GenerateRequest], **script: Any) -> Any:
        played = Script(seconds_per_token=TOKEN_S, never_end=script["thinking_tokens"] is None, **script)
        engine = ScriptedEngine(
            self._model.tokenizer, self._model.reasoning, script=played, window_tokens=256, max_num_seqs=2
        )
        self._scheduler = Scheduler(self._model, engine, measure_speed=False, max_waiting=MAX_WAITING)
        self._now(self._scheduler.start())
        return multiple(*(run for request in first for run in self._submit(request, reads=True)))

    @rule(target=runs, request=requests(), reads=st.booleans())
    def submit(self, request: GenerateRequest, reads: bool) -> Any:
        return multiple(*self._submit(request, reads=reads))

    def _submit(self, request: GenerateRequest, *, reads: bool) -> list[SessionRun]:
        if self._is_draining or self._is_dead:
            with pytest.raises(Unavailable):
                self._now(self._scheduler.submit(request))
            return []
        num_waiting = sum(run.session.phase == "waiting" for run in self._runs)
        # The default is the real time, in which no deadline would ever be reached here.
        context = RequestContext(arrived_at=self._runner.get_loop().time(), account=self._account)
        try:
            session = self._now(self._scheduler.submit(dataclasses.replace(request, context=context)))
        except Overloaded:
            assert num_waiting >= MAX_WAITING
            return []
        run = SessionRun(
            session=session,
            budget_tokens=session.request.limits.budget_tokens,
            has_deadline=request.deadline_s is not None,
        )
        self._runs.append(run)
        self._sessions.append(session)
        if reads:
            self._read(run)
        return [run]

    def _read(self, run: SessionRun) -> None:
        if run.reader is None:
            run.reader = self._runner.get_loop().create_task(run.read())
            self._now()

    @rule(run=runs)
    def read(self, run: SessionRun) -> None:
        self._read(run)

    @rule(tokens=st.integers(1, 40))
    def pass_time(self, tokens: int) -> None:
        self._now(asyncio.sleep(tokens * TOKEN_S))

    @rule(run=runs)
    def answer_now(self, run: SessionRun) -> None:
        at_tokens = self._control(run, lambda session: session.answer_now())
        if at_tokens is not None:
            run.answer_now_tokens = at_tokens
            if run.thinking:
                assert at_tokens == run.thinking[-1].total_tokens

    @rule(run=runs, tokens=st.sampled_from([1, 10, 500]))
    def extend(self, run: SessionRun, tokens: int) -> None:
        max_budget_tokens = run.session.request.limits.max_budget_tokens
        result = self._control(
            run, lambda session: self._scheduler.extend(session.request.id, tokens, account=self._account)
        )
        if result is not None:
            run.budget_tokens = max(run.budget_tokens, min(run.budget_tokens + tokens, max_budget_tokens))
            assert result[0] == run.budget_tokens

    def _control(self, run: SessionRun, use: Any) -> Any:
        """The control's result, or None if it is refused; a refusal must have a reason, a success none."""
        has_ended, is_answering = run.has_ended, run.is_answering

        async def control() -> Any:
            return use(self._scheduler.find(run.session.request.id, account=self._account))

        try:
            result = self._now(control())
        except UnknownSession:
            assert has_ended or run.reader is None
            return None
        except AlreadyAnswering:
            assert is_answering or run.reader is None or run.has_deadline or self._is_draining
            return None
        assert not has_ended
        assert not is_answering
        assert not run.is_cancelled
        return result

    @rule(run=runs)
    def cancel(self, run: SessionRun) -> None:
        async def cancel() -> None:
            self._scheduler.find(run.session.request.id, account=self._account).cancel()
            run.is_cancelled = True

        with suppress(UnknownSession):
            self._now(cancel())

    @rule(run=consumes(runs))
    def leave(self, run: SessionRun) -> None:
        if run.reader is None:
            return  # only a reader can leave
        run.is_abandoned = not run.has_ended
        run.reader.cancel()
        self._now()
        self._runs.remove(run)
        with pytest.raises(UnknownSession):
            self._scheduler.find(run.session.request.id, account=self._account)

    @precondition(lambda self: not self._is_draining)
    @rule()
    def drain(self) -> None:
        async def drain() -> None:
            self._scheduler.drain(grace_s=DRAIN_S)

        self._is_draining = True
        self._now(drain())

    @precondition(lambda self: len(self._runs) >= 3 and not self._is_dead)
    @rule()
    def die(self) -> None:
        self._is_dead = True
        self._now(self._scheduler.engine.stop())

    @invariant()
    def budgets_are_kept(self) -> None:
        for run in self._runs:
            counts = [event.total_tokens for event in run.thinking]
            assert counts == sorted(counts)
            assert all(count <= run.budget_tokens for count in counts)
            assert not run.thinking or run.session.thinking_tokens <= run.budget_tokens

    @invariant()
    def events_are_in_order(self) -> None:
        for run in self._runs:
            _check_order(run.emitted)

    def teardown(self) -> None:
        try:
            if hasattr(self, "_scheduler"):
                self._end()
        finally:
            self._clock.close()
        super().teardown()

    def _end(self) -> None:
        """Every session ends with an allowed result, and nothing of any session is left."""
        for run in self._runs:
            self._read(run)

        async def read_all() -> None:
            async with asyncio.timeout(END_S):
                await asyncio.gather(*(run.reader for run in self._runs if run.reader is not None))

        self._now(read_all())
        for run in self._runs:
            _check_order(run.emitted)
            self._check_end(run)
        scheduler = self._scheduler
        assert len(scheduler.active) == 0
        assert scheduler.engine.load().num_requests == 0
        assert scheduler.active.slots.num_held == scheduler.active.slots.num_wanted == 0
        self._check_account()
        if self._is_draining:
            self._now(scheduler.drained())
        assert asyncio.all_tasks(self._runner.get_loop()) == set()

    def _check_account(self) -> None:
        """All that was sampled is counted, and nothing else."""
        assert self._account.num_under_way == 0
        used = {quota.unit: MANY - bucket.remaining for quota, bucket in self._account.quotas.items()}
        costs = [session.cost for session in self._sessions]
        assert used == {
            "tokens": sum(cost.tokens for cost in costs),
            "thinking_tokens": sum(cost.thinking_tokens for cost in costs),
        }
        for run in self._runs:
            cost, most = run.session.cost, most_cost(run.session.request, run.budget_tokens)
            assert cost.tokens <= most.tokens
            if (done := run.session.done) is not None:
                assert cost.tokens == done.usage.output_tokens

    def _check_end(self, run: SessionRun) -> None:
        last = run.emitted[-1]
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
        assert stop.budget_tokens == run.budget_tokens
        assert stop.thinking_tokens <= run.budget_tokens
        text = "".join(event.text for event in run.thinking)
        assert stop.thinking_tokens - len(text) == (stop.cause is Cause.NATURAL)
        if run.answer_now_tokens is not None:
            assert (stop.cause, stop.thinking_tokens) == (Cause.CLIENT, run.answer_now_tokens)
        elif not run.has_deadline and not self._is_draining:
            assert stop.cause in {Cause.NATURAL, Cause.BUDGET, Cause.STABLE, Cause.CONTEXT}


def _check_order(emitted: list[events.Event]) -> None:
    """`Started`, thinking and early answers, the final answer, one end; or a beginning of that."""
    open_answers, is_last, has_ended = dict[int, str](), False, False
    for number, event in enumerate(emitted):
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


def test_every_sequence_gives_allowed_results(tiny_model: Model) -> None:
    run_state_machine_as_test(
        lambda: SchedulerMachine(tiny_model),  # pyright: ignore[reportArgumentType] (any factory)
        settings=settings(max_examples=settings().max_examples // 2),  # of up to 50 steps each
    )
