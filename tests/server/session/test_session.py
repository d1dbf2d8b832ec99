"""Sessions on the scripted engine: causes, counts and faults."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from anytime_server.engine import Delta, EngineRequest
from anytime_server.reasoning import Cause
from anytime_server.session import AnswerOptions, events
from anytime_server.session.latency import LatencyEstimator
from anytime_server.text.model import Model
from anytime_server.text.tool_calls import ToolCallReader

from .conftest import PROMPT_IDS, finished, run_session, thinking_text


@pytest.mark.parametrize("budget", [1, 2, 7, 49, 300])
async def test_budget_is_exact(open_session: Any, budget: int) -> None:
    session = await open_session(budget_tokens=budget, never_end=True)
    emitted = await run_session(session)
    stop = finished(session).stop
    assert (stop.cause, stop.thinking_tokens, stop.budget_tokens) == (Cause.BUDGET, budget, budget)
    last = [event for event in emitted if isinstance(event, events.ThinkingDelta)][-1]
    assert last.total_tokens == budget
    assert len(thinking_text(emitted)) == budget  # one byte a token in this tokenizer


async def test_budget_of_zero_answers_without_thinking(open_session: Any) -> None:
    session = await open_session(budget_tokens=0)
    emitted = await run_session(session)
    done = finished(session)
    assert (done.stop.cause, done.stop.thinking_tokens, done.answer) == (Cause.BUDGET, 0, "42")
    assert done.usage.inserted_tokens == 1 + len("Answer: ")
    assert thinking_text(emitted) == ""


async def test_sampled_think_end_counts_as_thinking(open_session: Any) -> None:
    session = await open_session(budget_tokens=50, thinking_tokens=10)
    emitted = await run_session(session)
    done = finished(session)
    assert (done.stop.cause, done.stop.thinking_tokens) == (Cause.NATURAL, 10)
    assert done.usage.inserted_tokens == len("Answer: ")
    assert len(thinking_text(emitted)) == 9


async def test_think_end_as_last_token_of_the_budget_is_natural(open_session: Any) -> None:
    session = await open_session(budget_tokens=10, thinking_tokens=10)
    await run_session(session)
    assert finished(session).stop.cause is Cause.NATURAL


async def test_truncation_inserts_its_text_the_think_end_and_the_lead_in(open_session: Any) -> None:
    session = await open_session(budget_tokens=10, thinking_tokens=11)
    await run_session(session)
    done = finished(session)
    assert done.stop.cause is Cause.BUDGET
    assert done.usage.inserted_tokens == len("...") + 1 + len("Answer: ")


async def test_limit_of_the_window_has_cause_context(open_session: Any) -> None:
    session = await open_session(budget_tokens=20, cause=Cause.CONTEXT, never_end=True)
    await run_session(session)
    assert finished(session).stop.cause is Cause.CONTEXT


async def test_events_come_in_order_and_add_up(open_session: Any) -> None:
    session = await open_session(budget_tokens=12, never_end=True, answer="forty-two")
    emitted = await run_session(session)
    kinds = [type(event) for event in emitted]
    assert kinds[0] == events.Started
    assert kinds[1:13] == [events.ThinkingDelta] * 12
    assert kinds[13] == events.AnswerStarted
    assert kinds[-2:] == [events.AnswerDone, events.Done]
    assert set(kinds[14:-2]) == {events.AnswerDelta}
    answer = "".join(event.text for event in emitted if isinstance(event, events.AnswerDelta))
    done = finished(session)
    assert answer == done.answer == "forty-tw"  # 8 tokens at most
    [answer_done] = [event for event in emitted if isinstance(event, events.AnswerDone)]
    assert (answer_done.finish_reason, answer_done.answer_tokens) == ("length", 8)
    assert answer_done.confidence is not None
    assert 0 < answer_done.confidence < 1
    usage = done.usage
    assert (usage.prompt_tokens, usage.thinking_tokens, usage.answer_tokens) == (len(PROMPT_IDS), 12, 8)


async def test_same_seed_gives_the_same_result(open_session: Any) -> None:
    texts = []
    for seed in (5, 5, 6):
        session = await open_session(budget_tokens=40, seed=seed)
        texts.append((thinking_text(await run_session(session)), finished(session).stop))
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


async def test_deadline_truncates_in_time_for_the_answer(open_session: Any) -> None:
    """An answer of 3 tokens takes 0.25 + 0.75 s."""
    latency = LatencyEstimator()
    latency.record_switch(seconds=0.25)
    latency.record_answer(answer_tokens=3)
    latency.record_decoding(num_tokens=4, seconds=1.0)
    session = await open_session(
        budget_tokens=400, deadline_s=2.0, never_end=True, seconds_per_token=0.25, latency=latency
    )
    await run_session(session)
    done = finished(session)
    assert done.stop.cause is Cause.DEADLINE
    # Thinking may go on until 2 - 0.25 - 3 x 0.25 = 1 s.
    assert 1 <= done.stop.thinking_tokens <= 4
    assert done.timing.total_s < 2.0
    assert done.answer == "42"


async def test_passed_deadline_answers_without_thinking(open_session: Any) -> None:
    session = await open_session(budget_tokens=400, deadline_s=-1.0, never_end=True)
    await run_session(session)
    assert (finished(session).stop.cause, finished(session).stop.thinking_tokens) == (Cause.DEADLINE, 0)


async def test_deadline_truncates_before_the_first_token(open_session: Any) -> None:
    """The clock is also checked while no token comes."""
    session = await open_session(budget_tokens=400, deadline_s=0.1, never_end=True, first_token_s=0.3)
    await run_session(session)
    assert (finished(session).stop.cause, finished(session).stop.thinking_tokens) == (Cause.DEADLINE, 0)


@pytest.mark.parametrize("fault", ["think_end_twice", "reopened_thinking"])
async def test_think_tokens_never_show_in_the_answer(open_session: Any, fault: str) -> None:
    session = await open_session(budget_tokens=10, fault=fault)
    await run_session(session)
    assert finished(session).answer == "42"


async def test_end_of_turn_within_thinking_still_gets_an_answer(open_session: Any) -> None:
    session = await open_session(budget_tokens=50, thinking_tokens=10, fault="eos_in_thinking")
    await run_session(session)
    done = finished(session)
    assert (done.stop.cause, done.stop.thinking_tokens) == (Cause.NATURAL, 10)
    assert done.usage.inserted_tokens == 1 + len("Answer: ")
    assert done.answer == "42"


async def test_blank_answer_is_sampled_again(open_session: Any) -> None:
    session = await open_session(budget_tokens=5, fault="blank_answer")
    emitted = await run_session(session)
    done = finished(session)
    assert done.answer == "42"
    assert "".join(event.text for event in emitted if isinstance(event, events.AnswerDelta)) == "42"
    [answer] = [event for event in emitted if isinstance(event, events.AnswerDone)]
    # A blank and an end of turn, then the answer and an end of turn.
    assert (answer.answer_tokens, done.usage.answer_tokens) == (3, 2 + 3)


async def test_answer_that_stays_blank_is_an_error(open_session: Any) -> None:
    session = await open_session(budget_tokens=5, answer=" \n \n")
    emitted = await run_session(session)
    assert isinstance(emitted[-1], events.Failed)
    assert emitted[-1].error.code == "empty_answer"


@pytest.mark.parametrize("die_after_tokens", [1, 10, 11, 12])
async def test_engine_death_emits_exactly_one_error(open_session: Any, die_after_tokens: int) -> None:
    """The engine dies during the thinking (10 tokens) or during the answer."""
    session = await open_session(budget_tokens=10, never_end=True, die_after_tokens=die_after_tokens)
    emitted = await run_session(session)
    ends = [type(event) for event in emitted if isinstance(event, events.Done | events.Failed)]
    assert ends == [events.Failed]
    assert isinstance(emitted[-1], events.Failed)
    assert emitted[-1].error.code == "engine_dead"


@pytest.mark.parametrize(("tokens", "is_measured"), [(5, True), (0, False)])
async def test_answer_without_thinking_is_not_measured_as_a_switch(
    open_session: Any, tokens: int, is_measured: bool
) -> None:
    """Such an answer computes the whole prompt, and a truncation does not."""
    latency = LatencyEstimator()
    session = await open_session(budget_tokens=tokens, never_end=True, first_token_s=0.05, latency=latency)
    await run_session(session)
    assert (latency.answer_cost_s(0) > 0) is is_measured


async def test_thinking_ends_where_a_tool_call_begins(open_session: Any, tiny_model: Model) -> None:
    """The token that begins the call is not shown, and no lead-in comes between it and the call."""
    start_ids = frozenset(tiny_model.tokenizer.encode("+"))
    parser: Any = SimpleNamespace(
        in_own_syntax=True,
        start_ids=start_ids,
        keeps_special_tokens=False,
        format=None,
        max_calls=None,
        parse=lambda text: (text, []),
    )
    parser.reader = partial(ToolCallReader, parser)
    session = await open_session(
        budget_tokens=400, never_end=True, answer_options=AnswerOptions(tool_parser=parser)
    )
    emitted = await run_session(session)
    done = finished(session)
    assert done.stop.cause is Cause.NATURAL
    assert len(thinking_text(emitted)) == done.stop.thinking_tokens - 1 < 399
    assert "+" not in thinking_text(emitted)
    assert done.usage.inserted_tokens == 1


@pytest.mark.parametrize("deadline_s", [None, 60.0])
async def test_timeout_error_of_the_engine_is_not_a_deadline(
    open_session: Any, deadline_s: float | None
) -> None:
    session = await open_session(budget_tokens=50, deadline_s=deadline_s, never_end=True)

    async def times_out(request: EngineRequest) -> AsyncGenerator[Delta, None]:
        raise TimeoutError("raised by the engine")
        yield

    session.runtime.engine.generate = times_out
    emitted = await run_session(session)
    assert isinstance(emitted[-1], events.Failed)
    assert emitted[-1].error.code == "internal_error"
    assert session.done is None
