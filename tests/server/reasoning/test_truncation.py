"""Truncation: each row of its table, and properties of every truncation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from anytime_server.reasoning import (
    Cause,
    Forcing,
    ReasoningFormat,
    Truncation,
    truncate_thinking,
)
from hypothesis import given
from hypothesis import strategies as st

THINK_START, THINK_END, EOS, OTHER_EOS = 1, 2, 3, 4
FORMAT = ReasoningFormat(
    think_start_ids=(THINK_START,),
    think_end_ids=(THINK_END,),
    truncation_ids=(90, 91),
    answer_lead_in_ids=(95, 96, 97),
    eos_ids=frozenset({EOS, OTHER_EOS}),
)

ordinary_ids = st.lists(st.integers(10, 99), max_size=12)
prompts = st.lists(st.sampled_from([THINK_START, EOS, 10, 11]), max_size=8)
thinking_lists = st.builds(
    lambda ids, last: ids + last, ordinary_ids, st.sampled_from([[], [THINK_END], [EOS], [OTHER_EOS]])
)
forced_causes = st.sampled_from([cause for cause in Cause if cause is not Cause.NATURAL])
formats = st.builds(
    ReasoningFormat,
    think_start_ids=st.just((THINK_START,)),
    think_end_ids=st.just((THINK_END,)),
    truncation_ids=ordinary_ids.map(tuple),
    answer_lead_in_ids=ordinary_ids.map(tuple),
    eos_ids=st.just(frozenset({EOS, OTHER_EOS})),
)


@pytest.mark.parametrize(
    ("thinking", "truncation"),
    [
        pytest.param(
            [10, 11, THINK_END],
            Truncation(
                cause=Cause.NATURAL,
                num_thinking_tokens=3,
                thinking_ids=(10, 11, THINK_END),
                inserted_ids=(95, 96, 97),
            ),
            id="ended-with-the-think-end",
        ),
        pytest.param(
            [10, 11, OTHER_EOS],
            Truncation(
                cause=Cause.NATURAL,
                num_thinking_tokens=3,
                thinking_ids=(10, 11),
                inserted_ids=(THINK_END, 95, 96, 97),
            ),
            id="ended-with-the-end-of-the-turn",
        ),
        pytest.param(
            [10, 11],
            Truncation(
                cause=Cause.BUDGET,
                num_thinking_tokens=2,
                thinking_ids=(10, 11),
                inserted_ids=(90, 91, THINK_END, 95, 96, 97),
            ),
            id="truncated",
        ),
        pytest.param(
            [],
            Truncation(
                cause=Cause.BUDGET,
                num_thinking_tokens=0,
                thinking_ids=(),
                inserted_ids=(THINK_END, 95, 96, 97),
            ),
            id="never-began",
        ),
        pytest.param(
            [EOS],
            Truncation(
                cause=Cause.NATURAL,
                num_thinking_tokens=1,
                thinking_ids=(),
                inserted_ids=(THINK_END, 95, 96, 97),
            ),
            id="ended-before-it-began",
        ),
        pytest.param(
            [THINK_END],
            Truncation(
                cause=Cause.NATURAL,
                num_thinking_tokens=1,
                thinking_ids=(THINK_END,),
                inserted_ids=(95, 96, 97),
            ),
            id="the-think-end-alone",
        ),
    ],
)
def test_each_row_of_the_table(thinking: list[int], truncation: Truncation) -> None:
    assert truncate_thinking(thinking, FORMAT, cause=Cause.BUDGET) == truncation


@given(thinking_lists, formats, forced_causes)
def test_exactly_one_think_end_precedes_the_answer(
    thinking: list[int], reasoning: ReasoningFormat, cause: Cause
) -> None:
    prompt = truncate_thinking(thinking, reasoning, cause=cause).answer_prompt([10, THINK_START])
    assert prompt.count(THINK_END) == 1
    after = prompt[prompt.index(THINK_END) + 1 :]
    assert tuple(after) == reasoning.answer_lead_in_ids


@given(thinking_lists, formats, forced_causes)
def test_no_end_of_turn_precedes_the_answer(
    thinking: list[int], reasoning: ReasoningFormat, cause: Cause
) -> None:
    prompt = truncate_thinking(thinking, reasoning, cause=cause).answer_prompt([10, THINK_START])
    assert reasoning.eos_ids.isdisjoint(prompt)


@given(prompts, thinking_lists, formats, forced_causes)
def test_answer_prompt_extends_the_computed_tokens(
    prompt: list[int], thinking: list[int], reasoning: ReasoningFormat, cause: Cause
) -> None:
    truncation = truncate_thinking(thinking, reasoning, cause=cause)
    computed = prompt + [i for i in thinking if i not in reasoning.eos_ids]
    extended = truncation.answer_prompt(prompt)
    assert extended[: len(computed)] == computed
    assert tuple(extended[len(computed) :]) == truncation.inserted_ids
    assert truncation.inserted_ids or truncation.thinking_ids[-1] == THINK_END


@given(thinking_lists, formats, forced_causes)
def test_every_sampled_token_is_counted(
    thinking: list[int], reasoning: ReasoningFormat, cause: Cause
) -> None:
    truncation = truncate_thinking(thinking, reasoning, cause=cause)
    assert truncation.num_thinking_tokens == len(thinking)
    assert len(truncation.inserted_ids) <= reasoning.max_inserted_tokens


@given(thinking_lists, formats, forced_causes)
def test_natural_end_overrules_the_cause(
    thinking: list[int], reasoning: ReasoningFormat, cause: Cause
) -> None:
    ended_by_model = thinking[-1:] != [] and thinking[-1] in (THINK_END, EOS, OTHER_EOS)
    expected = Cause.NATURAL if ended_by_model else cause
    assert truncate_thinking(thinking, reasoning, cause=cause).cause is expected


@given(ordinary_ids, formats, st.data())
def test_shorter_truncation_is_a_prefix_of_the_same_thinking(
    thinking: list[int], reasoning: ReasoningFormat, data: st.DataObject
) -> None:
    """One run of thinking can be truncated at every budget; the prefix reuse of training relies on it."""
    budget = data.draw(st.integers(0, len(thinking)))
    truncation = truncate_thinking(thinking[:budget], reasoning, cause=Cause.BUDGET)
    assert list(truncation.thinking_ids) == thinking[:budget]
    truncation_ids = reasoning.truncation_ids if budget else ()
    assert truncation.inserted_ids == (*truncation_ids, THINK_END, *reasoning.answer_lead_in_ids)


@pytest.mark.parametrize("stop_id", [THINK_END, EOS, OTHER_EOS])
def test_stop_token_inside_the_thinking_is_a_programming_error(stop_id: int) -> None:
    with pytest.raises(AssertionError, match="inside the thinking"):
        truncate_thinking([10, stop_id, 11], FORMAT, cause=Cause.BUDGET)


@pytest.mark.parametrize("forcing", list(Forcing))
def test_thinking_is_closed_before_a_tool_call_without_a_lead_in(forcing: Forcing) -> None:
    truncation = truncate_thinking(
        [50, 51, 70], FORMAT, cause=Cause.BUDGET, forcing=forcing, tool_start_ids=frozenset({70})
    )
    assert (truncation.cause, truncation.num_thinking_tokens) == (Cause.NATURAL, 3)
    assert (truncation.thinking_ids, truncation.inserted_ids) == ((50, 51), (THINK_END,))


def test_answer_is_opened_where_the_start_of_a_call_ended_the_thinking_and_no_call_may_follow() -> None:
    reasoning = replace(FORMAT, answer_start_ids=(80, 81), answer_start_with_tools_ids=(80,))
    for may_call_tools, inserted_ids in ((False, (THINK_END, 80, 81)), (True, (THINK_END,))):
        truncation = truncate_thinking(
            [50, 70],
            reasoning,
            cause=Cause.BUDGET,
            tool_start_ids=frozenset({70}),
            may_call_tools=may_call_tools,
        )
        assert truncation.inserted_ids == inserted_ids


def test_closed_thinking_has_no_lead_in() -> None:
    truncation = truncate_thinking([50, 51], FORMAT, cause=Cause.BUDGET, forcing=Forcing.CLOSE)
    assert truncation.inserted_ids == (90, 91, THINK_END)
    ended = truncate_thinking([50, THINK_END], FORMAT, cause=Cause.BUDGET, forcing=Forcing.CLOSE)
    assert ended.inserted_ids == ()


def test_carried_tokens_precede_the_answer_and_are_not_counted() -> None:
    truncation = truncate_thinking([50, 51, 52, 53, 54], FORMAT, cause=Cause.BUDGET, num_carried_tokens=3)
    assert (truncation.num_thinking_tokens, truncation.thinking_ids) == (2, (50, 51, 52, 53, 54))
    nothing_new = truncate_thinking([50, 51, 52], FORMAT, cause=Cause.CLIENT, num_carried_tokens=3)
    assert (nothing_new.num_thinking_tokens, nothing_new.cause) == (0, Cause.CLIENT)


CHANNELS = ReasoningFormat(
    think_start_ids=(1, 10),
    think_end_ids=(THINK_END,),
    truncation_ids=(90,),
    answer_lead_in_ids=(95,),
    eos_ids=frozenset({EOS}),
    answer_start_ids=(80, 81, 82),
    answer_start_with_tools_ids=(80,),
    no_thinking_ids=(81, 82),
)


@pytest.mark.parametrize(
    ("thinking", "forcing", "may_call_tools", "inserted"),
    [
        ([10, THINK_END], Forcing.AUTO, False, (80, 81, 82)),
        ([10, THINK_END], Forcing.FORCE, False, (80, 81, 82, 95)),
        ([10, THINK_END], Forcing.CLOSE, True, (80,)),
        ([10, EOS], Forcing.AUTO, False, (THINK_END, 80, 81, 82)),
        ([10], Forcing.AUTO, False, (90, THINK_END, 80, 81, 82, 95)),
        ([10], Forcing.CLOSE, True, (90, THINK_END, 80)),
        ([], Forcing.AUTO, False, (THINK_END, 80, 81, 82, 95)),
    ],
)
def test_answer_is_opened_after_the_think_end(
    thinking: list[int], forcing: Forcing, may_call_tools: bool, inserted: tuple[int, ...]
) -> None:
    truncation = truncate_thinking(
        thinking, CHANNELS, cause=Cause.BUDGET, forcing=forcing, may_call_tools=may_call_tools
    )
    assert truncation.inserted_ids == inserted
    assert len(truncation.inserted_ids) <= CHANNELS.max_inserted_tokens


def test_answer_is_opened_after_a_stop_id_of_the_client() -> None:
    options = {"cause": Cause.BUDGET, "forcing": Forcing.AUTO, "stop_ids": frozenset({12})}
    truncation = truncate_thinking([10, 12], CHANNELS, **options)
    assert (truncation.cause, truncation.thinking_ids) == (Cause.NATURAL, (10,))
    assert truncation.inserted_ids == (THINK_END, 80, 81, 82)


def test_prompt_without_thinking_takes_the_place_of_the_prompt() -> None:
    truncation = truncate_thinking([], CHANNELS, cause=Cause.BUDGET).with_prompt([7, 81, 82], [7, 1])
    assert truncation.answer_prompt([7, 1]) == [7, 81, 82]
    assert truncation.inserted_ids == (82,)  # beyond the prompt's tokens, so that all of them are counted
