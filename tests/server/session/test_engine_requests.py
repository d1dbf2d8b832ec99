"""Engine requests of a session: options, seeds and priorities, and attempts after a blank answer."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from anytime_server.engine import Delta, EngineRequest, Sampling
from anytime_server.engine.constraint import Constraint
from anytime_server.engine.resuming import seed_after
from anytime_server.reasoning import SamplingOptions
from anytime_server.session import AnswerOptions, Session, events
from anytime_server.text.model import Model
from anytime_server.text.tool_formats import ToolFormat

from .conftest import PROMPT_IDS, finished, parser_of, run_session

ANY_JSON = Constraint("json_schema", "{}")
THINK_START_ID = 260
EOS_IDS, STOP_IDS = frozenset({259}), frozenset({259, 261})
ANSWER_STOP_IDS = EOS_IDS | {THINK_START_ID}


def recorded(session: Session) -> list[EngineRequest]:
    """The requests of a session, as they come."""
    generate, found = session.runtime.engine.generate, list[EngineRequest]()

    async def record(request: EngineRequest) -> AsyncGenerator[Delta, None]:
        found.append(request)
        async for delta in generate(request):
            yield delta

    session.runtime.engine.generate = record  # pyright: ignore[reportAttributeAccessIssue]
    return found


async def test_both_phases_in_full(open_session: Any, tiny_model: Model) -> None:
    options = AnswerOptions(
        sampling=SamplingOptions(temperature=0.2, top_p=0.7), constraint=ANY_JSON, top_logprobs=3
    )
    session = await open_session(budget_tokens=5, never_end=True, seed=9, answer_options=options)
    found = recorded(session)
    await run_session(session)
    thinking, answer = found
    assert thinking == EngineRequest(
        id="any-1-thinking-0",
        prompt_ids=PROMPT_IDS,
        sampling=Sampling(
            max_tokens=5, temperature=0.6, top_p=0.95, seed=9, stop_ids=STOP_IDS, logprobs=False
        ),
        priority=2,
    )
    inserted = [*tiny_model.reasoning.truncation_ids, 261, *tiny_model.reasoning.answer_lead_in_ids]
    sampled = answer.prompt_ids[len(PROMPT_IDS) : len(PROMPT_IDS) + 5]
    assert answer == EngineRequest(
        id="any-1-answer-0-0",
        prompt_ids=[*PROMPT_IDS, *sampled, *inserted],
        sampling=Sampling(
            max_tokens=8,
            min_tokens=1,
            temperature=0.2,
            top_p=0.7,
            seed=9,
            stop_ids=EOS_IDS,
            logprobs=True,
            top_logprobs=3,
            constraint=ANY_JSON,
        ),
        priority=0,
    )


@pytest.mark.parametrize(
    ("with_confidence", "top_logprobs", "needed"),
    [(True, None, (True, 0)), (False, None, (False, 0)), (False, 0, (True, 0)), (False, 2, (True, 2))],
)
async def test_log_probabilities_are_requested_only_where_they_are_reported(
    open_session: Any, with_confidence: bool, top_logprobs: int | None, needed: tuple[bool, int]
) -> None:
    options = AnswerOptions(with_confidence=with_confidence, top_logprobs=top_logprobs)
    session = await open_session(budget_tokens=0, answer_options=options)
    found = recorded(session)
    emitted = await run_session(session)
    [answer] = found
    assert (answer.sampling.logprobs, answer.sampling.top_logprobs) == needed
    [done] = [event for event in emitted if isinstance(event, events.AnswerDone)]
    assert (done.confidence is not None) == with_confidence
    reported = [token.text for e in emitted if isinstance(e, events.AnswerDelta) for token in e.tokens]
    assert reported == ([] if top_logprobs is None else ["4", "2"])


async def test_early_answers_run_before_thinking_and_after_final_answers(open_session: Any) -> None:
    session = await open_session(budget_tokens=5, never_end=True, fields={"budgets": (2,)})
    found = recorded(session)
    await run_session(session)
    assert [(one.id, one.priority) for one in found] == [
        ("any-1-thinking-0", 2),
        ("any-1-answer-0-0", 1),
        ("any-1-answer-1-0", 0),
    ]


async def test_extended_thinking_goes_on_from_its_tokens_with_another_seed(open_session: Any) -> None:
    """The second request follows the carried and the sampled tokens, and does not repeat random numbers."""
    session = await open_session(
        budget_tokens=5, never_end=True, seed=9, fields={"carried_ids": (40, 41, 42)}
    )
    found = recorded(session)
    generate = session.runtime.engine.generate

    async def extend_at_the_end(request: EngineRequest) -> AsyncGenerator[Delta, None]:
        async for delta in generate(request):
            yield delta
        if request.id == "any-1-thinking-0":
            session.extend(3)

    session.runtime.engine.generate = extend_at_the_end
    await run_session(session)
    first, second, _ = found
    assert (first.prompt_ids, first.sampling.max_tokens) == ([*PROMPT_IDS, 40, 41, 42], 5)
    assert first.sampling.seed == seed_after(9, 3)
    assert (second.id, second.sampling.max_tokens) == ("any-1-thinking-5", 3)
    assert (second.prompt_ids[:10], len(second.prompt_ids)) == (first.prompt_ids, 15)
    assert second.sampling.seed == seed_after(9, 8)
    assert finished(session).stop.thinking_tokens == 8


async def test_blank_answer_is_followed_by_others_without_its_tokens_within_the_same_limit(
    open_session: Any, tiny_model: Model
) -> None:
    """Blanks and thinking are banned; four attempts have a limit of 8 tokens together, but one each."""
    blank, newline = tiny_model.tokenizer.encode(" \n")
    session = await open_session(budget_tokens=0, answer=" \n \n")
    found = recorded(session)
    emitted = await run_session(session)
    assert [one.id for one in found] == [f"any-1-answer-0-{attempt}" for attempt in range(4)]
    thinking = {260, 261}
    assert [one.sampling.banned_ids for one in found] == [set(), *[{blank, newline} | thinking] * 3]
    # The first samples 4 blanks and an end of turn, each later one an end of turn alone.
    assert [one.sampling.max_tokens for one in found] == [8, 3, 2, 1]
    assert isinstance(emitted[-1], events.Failed)
    assert (emitted[-1].error.code, str(emitted[-1].error)) == (
        "empty_answer",
        "the model gave a blank answer 4 times",
    )


async def test_answer_goes_on_where_the_model_begins_to_think_without_budget(
    open_session: Any, tiny_model: Model
) -> None:
    """The script gives its answer twice: up to the think-start, and without it."""
    session = await open_session(budget_tokens=0, seed=9, answer="4<think>2")
    found = recorded(session)
    emitted = await run_session(session)
    first, second = found
    assert (first.sampling.banned_ids, first.sampling.stop_ids) == (frozenset(), ANSWER_STOP_IDS)
    assert second.prompt_ids == [*first.prompt_ids, *tiny_model.tokenizer.encode("4")]
    assert second.sampling.banned_ids == {THINK_START_ID}
    assert (second.sampling.max_tokens, second.sampling.seed) == (8 - 2, seed_after(9, 2))
    assert "".join(event.text for event in emitted if isinstance(event, events.AnswerDelta)) == "442"
    [done] = [event for event in emitted if isinstance(event, events.AnswerDone)]
    assert (done.text, done.answer_tokens, done.finish_reason) == ("442", 2 + 3, "stop")


async def test_answer_that_begins_to_think_at_its_limit_ends_there(open_session: Any) -> None:
    session = await open_session(budget_tokens=0, answer="1234567<think>8")
    found = recorded(session)
    emitted = await run_session(session)
    assert len(found) == 1
    [done] = [event for event in emitted if isinstance(event, events.AnswerDone)]
    assert (done.text, done.answer_tokens, done.finish_reason) == ("1234567", 8, "length")


async def test_thinking_also_stops_before_a_tool_call(open_session: Any, tiny_model: Model) -> None:
    [start_id] = tiny_model.tokenizer.encode("+")
    parser = parser_of(lambda text: (text, []), start_ids=frozenset({start_id}))
    session = await open_session(budget_tokens=0, answer_options=AnswerOptions(tool_parser=parser))
    found = recorded(session)
    await run_session(session)
    [answer] = found
    assert answer.sampling.stop_ids == ANSWER_STOP_IDS
    thinking = await open_session(budget_tokens=3, answer_options=AnswerOptions(tool_parser=parser))
    found = recorded(thinking)
    await run_session(thinking)
    assert found[0].sampling.stop_ids == STOP_IDS | {start_id}


async def test_a_total_leaves_the_answer_what_the_thinking_did_not_use(open_session: Any) -> None:
    made = await open_session(budget_tokens=4, thinking_tokens=3)
    limits = dataclasses.replace(made.request.limits, total_tokens=20, max_answer_tokens=None)
    session = Session(dataclasses.replace(made.request, limits=limits), made.runtime)
    found = recorded(session)
    await run_session(session)
    assert [one.sampling.max_tokens for one in found] == [4, 20 - 3]


async def test_text_before_a_tool_call_is_shown_as_it_comes_and_the_rest_at_the_end(
    open_session: Any,
) -> None:
    """The eighth token is the last that the answer may have; it is shown, and the begun call after it."""
    parser = parser_of(lambda text: (text, []), format=ToolFormat(start="<", end=">", template=()))
    for answer in ("forty-two", "four <two"):
        session = await open_session(
            budget_tokens=0, answer=answer, answer_options=AnswerOptions(tool_parser=parser)
        )
        emitted = await run_session(session)
        deltas = [event.text for event in emitted if isinstance(event, events.AnswerDelta)]
        assert "".join(deltas) == answer[:8] == finished(session).answer


async def test_failures_of_the_tool_parser_add_up_over_blank_answers(open_session: Any) -> None:
    def fail(text: str) -> None:
        raise ValueError("a parser's fault")

    parser = parser_of(fail)
    session = await open_session(
        budget_tokens=0, answer=" \n \n", answer_options=AnswerOptions(tool_parser=parser)
    )
    await run_session(session)
    assert session.done is None
    assert session.tool_parser_failures == 4
