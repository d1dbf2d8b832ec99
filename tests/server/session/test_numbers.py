"""Counts, times and latencies of sessions in virtual time, against hand-computed numbers.

The first token of an engine request takes 1.5 s, each further one 1 s.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any

import pytest
from anytime_server.engine import Delta, EngineRequest
from anytime_server.errors import InvalidRequest
from anytime_server.reasoning import Cause
from anytime_server.session import AnswerOptions, Session, events
from anytime_server.session.latency import LatencyEstimator
from anytime_server.text.tool_calls import ToolCall
from anytime_server.types import RequestContext, StopWhen

from .conftest import FakeLease, collect, finished, parser_of
from .virtual_time import virtual_time

FIRST_S = 1.5
WAITED_S = 3.0
"""Seconds between the request's arrival and the session's start."""


INDEXED = (events.AnswerStarted, events.AnswerDone)


@pytest.fixture
def play(open_session: Any) -> Any:
    """Runs a session in virtual time; returns it, its events, and the time of its start."""

    def run(
        *,
        cached: Callable[[EngineRequest], int] = lambda request: 0,
        prepare: Callable[[LatencyEstimator], None] = lambda latency: None,
        act: Callable[[Session], None] = lambda session: None,
        **options: Any,
    ) -> tuple[Session, list[events.Event], float]:
        async def play_now() -> tuple[Session, list[events.Event], float]:
            script = {"never_end": True, "first_token_s": FIRST_S - 1, "seconds_per_token": 1.0}
            latency = LatencyEstimator()
            prepare(latency)
            made = await open_session(latency=latency, **script | options)
            generate = made.runtime.engine.generate

            async def with_cache(request: EngineRequest) -> AsyncGenerator[Delta, None]:
                async for delta in generate(request):
                    yield dataclasses.replace(delta, cached_tokens=cached(request))

            made.runtime.engine.generate = with_cache
            start = runner.get_loop().time()
            context = RequestContext(arrived_at=start - WAITED_S)
            session = Session(dataclasses.replace(made.request, context=context), made.runtime, made.lease)
            session.start()
            act(session)
            return session, await collect(session), start

        with virtual_time() as runner:
            return runner.run(play_now())

    return run


def test_a_session_with_an_early_answer(play: Any) -> None:
    """Thinking at 1.5 to 4.5 s; early answer of its 2 tokens at 4, 5, 6 s; final answer at 6, 7, 8 s."""
    session, emitted, start = play(
        budget_tokens=4,
        fields={"budgets": (2,)},
        cached=lambda request: {"thinking": 5, "answer": 11}[request.id.split("-")[2]],
    )
    started, *middle, done = emitted
    assert started == events.Started(
        id="any-1", model="tiny", budget_tokens=4, deadline_s=None, prompt_tokens=7
    )
    assert done == events.Done(
        id="any-1",
        stop=events.Stop(cause=Cause.BUDGET, budget_tokens=4, thinking_tokens=4),
        answer="42",
        usage=events.Usage(
            prompt_tokens=7,
            prompt_cached_tokens=5,
            thinking_tokens=4,
            inserted_tokens=3 + 1 + 8,
            answer_tokens=3,
            provisional_tokens=3,
            cached_tokens=11,
        ),
        timing=events.Timing(
            time_to_first_token_s=WAITED_S + 1.5,
            cut_to_answer_s=FIRST_S,
            time_to_answer_s=WAITED_S + 6,
            total_s=WAITED_S + 8,
        ),
        continuation=done.continuation,
    )
    assert done.usage.output_tokens == 4 + 3 + 3
    thinking = [event.total_tokens for event in middle if isinstance(event, events.ThinkingDelta)]
    assert thinking == [1, 2, 3, 4]
    begun = [event for event in middle if isinstance(event, events.AnswerStarted)]
    assert begun == [
        events.AnswerStarted(index=0, at_tokens=2, provisional=True, cause=None, continuation=None),
        events.AnswerStarted(
            index=1, at_tokens=4, provisional=False, cause=Cause.BUDGET, continuation=done.continuation
        ),
    ]
    answers = [event for event in middle if isinstance(event, events.AnswerDone)]
    assert [(one.index, one.at_tokens, one.provisional, one.text, one.answer_tokens) for one in answers] == [
        (0, 2, True, "42", 3),
        (1, 4, False, "42", 3),
    ]
    deltas = [(one.index, one.provisional) for one in middle if isinstance(one, events.AnswerDelta)]
    assert sorted(deltas) == [(0, True)] * 2 + [(1, False)] * 2
    token = session.runtime.signer.verify(done.continuation, prompt_ids=session.request.prompt_ids)
    assert len(token) == 4
    line = session.timeline
    assert (line.arrived_at, line.opened_at, line.slot_at) == (start - WAITED_S, start, start)
    assert (line.first_token_at, line.stopped_at, line.answer_at) == (start + 1.5, start + 4.5, start + 6)
    assert (line.ended_at, line.held_s) == (start + 8, 8)
    assert session.answer is not None
    assert (session.answer.first_token_at, session.answer.last_token_at) == (start + 6, start + 8)


def test_an_answer_without_thinking(play: Any) -> None:
    """Its first token is the session's first; its cached tokens are the prompt's, as far as that reaches."""
    session, emitted, start = play(budget_tokens=0, cached=lambda request: 11)
    done = finished(session)
    assert done.timing == events.Timing(
        time_to_first_token_s=WAITED_S + 1.5,
        cut_to_answer_s=FIRST_S,
        time_to_answer_s=WAITED_S + 1.5,
        total_s=WAITED_S + 3.5,
    )
    assert (done.usage.prompt_cached_tokens, done.usage.cached_tokens) == (7, 11)
    assert session.timeline.first_token_at == start + 1.5
    assert [type(event) for event in emitted[:2]] == [events.Started, events.AnswerStarted]


def test_the_estimator_learns_from_thinking_and_answer(play: Any) -> None:
    """Tokens come every second, the switch takes 1.5 s, the answer has 3 tokens."""
    session, _, _ = play(budget_tokens=4)
    latency = session.runtime.latency
    assert latency.inter_token_s == 1
    assert latency.answer_cost_s(100) == FIRST_S + 3 * 1
    assert latency.answer_cost_s(100, structured=True) == FIRST_S + 100 * 1


def test_the_estimator_learns_the_cost_of_a_long_prompt(play: Any) -> None:
    """128 of 200 tokens are computed in 1.5 s; of a prompt that is mostly cached, nothing is learned."""
    carried = {"carried_ids": (40,) * 193}
    session, _, _ = play(budget_tokens=4, fields=carried, cached=lambda request: 72)
    assert session.runtime.latency.answer_cost_s(0, uncached_tokens=128) == FIRST_S + 1.5
    cached, _, _ = play(budget_tokens=4, fields=carried, cached=lambda request: 101)
    assert cached.runtime.latency.answer_cost_s(0, uncached_tokens=128) == FIRST_S
    half, _, _ = play(budget_tokens=4, fields={"carried_ids": (40,) * 249}, cached=lambda request: 128)
    assert half.runtime.latency.answer_cost_s(0, uncached_tokens=128) == FIRST_S + 1.5


def test_an_answer_without_thinking_teaches_the_switch_less_its_prompt(play: Any) -> None:
    """Its prompt has 7 + 1 + 8 = 16 tokens, 4 of them cached; 12 at 1/16 s leave 0.75 s of the 1.5 s."""

    def prepare(latency: LatencyEstimator) -> None:
        latency.record_prefill(num_tokens=128, seconds=8.0)

    session, _, _ = play(budget_tokens=0, cached=lambda request: 4, prepare=prepare)
    assert session.runtime.latency.answer_cost_s(0) == 0.75


def test_a_deadline_leaves_the_time_that_an_answer_takes(play: Any) -> None:
    """The answer takes 1.75 + 3 x 1 s, so thinking may last until 10.25 - 3 - 4.75 = 2.5 s: two tokens."""

    def prepare(latency: LatencyEstimator) -> None:
        latency.record_switch(seconds=1.75)
        latency.record_answer(answer_tokens=3)
        latency.record_decoding(num_tokens=4, seconds=4.0)

    session, _, _ = play(budget_tokens=50, deadline_s=10.25, prepare=prepare)
    done = finished(session)
    assert (done.stop.cause, done.stop.thinking_tokens) == (Cause.DEADLINE, 2)
    assert done.timing.cut_to_answer_s == pytest.approx(1.5)
    assert done.timing.total_s == pytest.approx(WAITED_S + 2.5 + 1.5 + 2)


def test_agreement_makes_the_last_probe_the_answer(play: Any) -> None:
    """Probes at 2 and 4 tokens, 2.5 and 4.5 s; the second ends at 8 s, when 7 tokens have been sampled."""
    session, emitted, start = play(
        budget_tokens=50, fields={"stop_when": StopWhen(stable=2, every_tokens=2)}, max_early_answers=9
    )
    done = finished(session)
    assert (done.stop.cause, done.stop.budget_tokens, done.stop.thinking_tokens) == (Cause.STABLE, 50, 7)
    # The probe at 6 tokens, from 6.5 s on, has sampled one token at 8 s; the second probe is the answer.
    assert (done.usage.answer_tokens, done.usage.provisional_tokens) == (3, 3 + 3 + 1 - 3)
    assert done.usage.thinking_tokens == 7
    assert done.timing.cut_to_answer_s == 0
    assert done.timing.time_to_answer_s == done.timing.total_s == WAITED_S + 8
    *_, begun, delta, answer, last = emitted
    assert begun == events.AnswerStarted(
        index=3, at_tokens=4, provisional=False, cause=Cause.STABLE, continuation=done.continuation
    )
    assert delta == events.AnswerDelta(index=3, text="42", tokens=(), provisional=False)
    assert (answer.index, answer.at_tokens, answer.provisional, answer.text) == (3, 4, False, "42")
    assert last is done
    assert session.timeline.answer_at == start + 8
    # The third probe is dropped without a trace.
    indices = {kind: [e.index for e in emitted if isinstance(e, kind)] for kind in INDEXED}
    assert indices == {events.AnswerStarted: [0, 1, 3], events.AnswerDone: [0, 1, 3]}


def test_answer_now_before_the_first_token(play: Any) -> None:
    """An answer now before the first token is an answer to the prompt alone."""
    session, _, _ = play(budget_tokens=50, act=lambda session: session.answer_now())
    done = finished(session)
    assert (done.stop.cause, done.stop.thinking_tokens, done.stop.budget_tokens) == (Cause.CLIENT, 0, 50)
    assert done.timing.total_s == WAITED_S + 3.5


@pytest.mark.parametrize(
    ("deadline_s", "at_tokens", "ended_s"),
    [(None, [1, 4, 2, 3], 12.0), (1000.0, [1, 4, 2, 3], 12.0), (WAITED_S + 11.5, [1, 4, 2], 11.5)],
)
def test_late_early_answers_are_awaited_until_the_deadline(
    play: Any, deadline_s: float | None, at_tokens: list[int], ended_s: float
) -> None:
    """One at a time: at 1.5 to 5, 5 to 8.5 and 8.5 to 12 s; the final answer ends at 8 s."""
    session, emitted, start = play(
        budget_tokens=4, max_early_answers=1, fields={"budgets": (1, 2, 3)}, deadline_s=deadline_s
    )
    answers = [event.at_tokens for event in emitted if isinstance(event, events.AnswerDone)]
    assert answers == at_tokens
    assert session.timeline.ended_at - start == pytest.approx(ended_s)
    assert session.done is not None


@pytest.mark.parametrize("fault", ["think_end_twice", "reopened_thinking"])
def test_thinking_inside_of_answers_is_counted(play: Any, fault: str) -> None:
    session, _, _ = play(budget_tokens=4, fields={"budgets": (2,)}, fault=fault)
    assert session.leaked_tokens == 2  # one token of the early answer, one of the final


@pytest.mark.parametrize(
    ("budget_tokens", "thinking_tokens", "blocks", "cause"),
    [
        (20, 5, [5, 10, 15, 20], Cause.NATURAL),
        (18, 5, [5, 10, 15, 18], Cause.BUDGET),
        (5, 5, [5], Cause.NATURAL),
        (4, 5, [4], Cause.BUDGET),
    ],
)
def test_all_blocks_of_thinking_share_one_budget(
    play: Any, budget_tokens: int, thinking_tokens: int, blocks: list[int], cause: Cause
) -> None:
    """The model begins to think again in its answer, until the budget is used up."""
    session, emitted, _ = play(
        budget_tokens=budget_tokens,
        thinking_tokens=thinking_tokens,
        never_end=False,
        fault="reopened_thinking",
    )
    done = finished(session)
    assert (done.stop.cause, done.stop.thinking_tokens) == (cause, blocks[-1])
    assert (done.stop.budget_tokens, done.answer) == (budget_tokens, "42")
    totals = [event.total_tokens for event in emitted if isinstance(event, events.ThinkingDelta)]
    assert totals == sorted(totals)
    assert totals[-1] == blocks[-1]
    [started] = [event for event in emitted if isinstance(event, events.AnswerStarted)]
    assert started.at_tokens == blocks[0]
    [answer] = [event for event in emitted if isinstance(event, events.AnswerDone)]
    assert answer.at_tokens == blocks[-1]
    verify = partial(session.runtime.signer.verify, prompt_ids=session.request.prompt_ids)
    if cause is Cause.NATURAL:
        with pytest.raises(InvalidRequest, match="had ended this thinking"):
            verify(done.continuation)
    else:  # resumed after all that was thought, the lead-ins, and the think-starts in the answer
        between = len("Answer: ") + 1
        assert len(verify(done.continuation)) == blocks[-1] + between * (len(blocks) - 1)
    # Each further block is opened by one sampled token of the answer, and so would be the one after the last.
    assert done.usage.answer_tokens == len("42") + 1 + len(blocks)


def test_tool_calls_are_read_out_of_the_answer_that_is_agreed_on(play: Any) -> None:
    calls = [ToolCall(name="f", arguments="{}"), ToolCall(name="g", arguments="{}")]
    parser = parser_of(lambda text: ("seen", calls))
    session, emitted, _ = play(
        budget_tokens=50,
        fields={"stop_when": StopWhen(stable=2, every_tokens=2)},
        answer_options=AnswerOptions(tool_parser=parser),
    )
    done = finished(session)
    assert (done.stop.cause, done.answer) == (Cause.STABLE, "seen")
    *_, delta, answer, _ = emitted
    assert (answer.text, answer.tool_calls, delta.text) == ("seen", tuple(calls), "seen")
    assert session.tool_parser_failures == 0


def test_failures_of_the_tool_parser_are_counted(play: Any) -> None:
    def fail(text: str) -> None:
        raise ValueError("a parser's fault")

    parser = parser_of(fail)
    options: dict[str, Any] = {"answer_options": AnswerOptions(tool_parser=parser)}
    agreed, _, _ = play(budget_tokens=50, fields={"stop_when": StopWhen(stable=2, every_tokens=2)}, **options)
    assert (finished(agreed).stop.cause, agreed.tool_parser_failures) == (Cause.STABLE, 1)
    sampled, _, _ = play(budget_tokens=4, **options)
    assert (finished(sampled).answer, sampled.tool_parser_failures) == ("42", 1)


def test_a_deadline_counts_the_prompt_and_the_answers_ahead_only_before_they_are_over(play: Any) -> None:
    """12 - 3 - (1.75 + 3 x 1) = 4.25 s: three tokens. The prompt's 7 x 0.25 s count until the first token."""

    def prepare(latency: LatencyEstimator) -> None:
        latency.record_switch(seconds=1.75)
        latency.record_answer(answer_tokens=3)
        latency.record_decoding(num_tokens=4, seconds=4.0)
        latency.record_prefill(num_tokens=128, seconds=32.0)

    session, _, _ = play(budget_tokens=50, deadline_s=12.0, prepare=prepare, lease=FakeLease(ahead=50.0))
    done = finished(session)
    assert (done.stop.cause, done.stop.thinking_tokens) == (Cause.DEADLINE, 3)
    assert done.timing.cut_to_answer_s == pytest.approx(1.5)
    late, _, _ = play(budget_tokens=50, deadline_s=3.0 + 4.75 + 3.0, prepare=prepare)
    assert finished(late).stop.thinking_tokens == 0  # 3 - 1.75 s, and the first token takes 1.5 s


def test_the_timeline_of_a_cancelled_session_ends_where_it_got(play: Any) -> None:
    def cancel_later(session: Session) -> None:
        asyncio.get_running_loop().call_later(2.75, session.cancel)

    session, emitted, start = play(budget_tokens=50, act=cancel_later)
    assert isinstance(emitted[-1], events.Failed)
    line = session.timeline
    assert (line.slot_at, line.first_token_at, line.ended_at) == (start, start + 1.5, start + 2.75)
    assert (line.stopped_at, line.answer_at, line.held_s) == (None, None, 2.75)
    session, emitted, start = play(
        budget_tokens=0, act=lambda session: asyncio.get_running_loop().call_later(1, session.cancel)
    )
    assert isinstance(emitted[-1], events.Failed)
    assert (session.timeline.first_token_at, session.timeline.stopped_at) == (None, start)
