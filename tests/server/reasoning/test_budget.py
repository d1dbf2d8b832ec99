"""Budgets against the window: boundaries by hand, and that everything fits, always."""

from __future__ import annotations

import pytest
from anytime_server.errors import InvalidRequest
from anytime_server.reasoning import Cause, ReasoningFormat, TokenLimits, resolve_limits, truncate_thinking
from hypothesis import given
from hypothesis import strategies as st

# Inserts at most 3 + 1 + 2 = 6 tokens.
FORMAT = ReasoningFormat(
    think_start_id=1,
    think_end_id=2,
    truncation_ids=(90, 91, 92),
    answer_lead_in_ids=(95, 96),
    eos_ids=frozenset({3}),
)
WINDOW = 100

sizes = st.integers(0, 150)


def resolve(
    *,
    budget_tokens: int | None,
    prompt_tokens: int = 20,
    answer_tokens: int = 10,
    total_tokens: int | None = None,
) -> TokenLimits:
    return resolve_limits(
        budget_tokens=budget_tokens,
        total_tokens=total_tokens,
        deadline_s=None,
        window_tokens=WINDOW,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
        reasoning=FORMAT,
    )


@pytest.mark.parametrize(
    ("tokens", "prompt_tokens", "applies", "cause"),
    [
        # 100 - 20 prompt - 6 inserted - 10 answer = 64 to think.
        (0, 20, 0, Cause.BUDGET),
        (63, 20, 63, Cause.BUDGET),
        (64, 20, 64, Cause.BUDGET),
        (65, 20, 64, Cause.CONTEXT),
        (None, 20, 64, Cause.CONTEXT),
        # 84 + 6 + 10 = 100: the prompt fits, with no room to think.
        (0, 84, 0, Cause.BUDGET),
        (1, 84, 0, Cause.CONTEXT),
        (None, 84, 0, Cause.CONTEXT),
    ],
)
def test_what_fits_applies(tokens: int | None, prompt_tokens: int, applies: int, cause: Cause) -> None:
    budget = resolve(budget_tokens=tokens, prompt_tokens=prompt_tokens)
    assert (budget.budget_tokens, budget.cause) == (applies, cause)


def test_the_deadline_is_carried_along() -> None:
    budget = resolve_limits(
        budget_tokens=5, deadline_s=1.5, window_tokens=100, prompt_tokens=1, answer_tokens=1, reasoning=FORMAT
    )
    assert budget.deadline_s == 1.5
    assert budget.max_budget_tokens == 100 - 1 - 1 - 6


@pytest.mark.parametrize(
    ("tokens", "total_tokens", "applies", "cause", "longest_answer"),
    [
        # 10 of the total are kept for the answer; what the thinking leaves is the answer's, too.
        (None, 30, 20, Cause.BUDGET, 30),
        (5, 30, 5, Cause.BUDGET, 30),
        (25, 30, 20, Cause.BUDGET, 30),
        # A total that is not enough for an answer is all for it.
        (None, 4, 0, Cause.BUDGET, 4),
        (9, 10, 0, Cause.BUDGET, 10),
        # 100 - 20 prompt - 6 inserted = 74 for both: a greater total changes nothing for the thinking.
        (16, 100, 16, Cause.BUDGET, 74),
        (None, 100, 64, Cause.CONTEXT, 74),
        (None, 74, 64, Cause.BUDGET, 74),
    ],
)
def test_a_total_is_shared(
    tokens: int | None, total_tokens: int, applies: int, cause: Cause, longest_answer: int
) -> None:
    budget = resolve(budget_tokens=tokens, total_tokens=total_tokens)
    assert (budget.budget_tokens, budget.cause) == (applies, cause)
    assert budget.answer_limit(0) == longest_answer
    assert budget.answer_limit(budget.budget_tokens) == longest_answer - applies >= budget.answer_tokens


def test_without_a_total_the_answer_has_its_own_limit() -> None:
    budget = resolve(budget_tokens=30)
    assert [budget.answer_limit(thinking_tokens) for thinking_tokens in (0, 30)] == [10, 10]


def test_a_budget_beyond_the_window_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"101 tokens .* window of 100") as refused:
        resolve(budget_tokens=101)
    assert refused.value.field == "budget"


def test_a_prompt_that_leaves_no_room_for_the_answer_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"prompt has 85 tokens.* 1 over") as refused:
        resolve(budget_tokens=0, prompt_tokens=85)
    assert refused.value.field == "messages"


def test_an_answer_that_leaves_no_room_for_any_prompt_is_refused() -> None:
    # 93 + 6 inserted + 1 prompt = 100.
    assert resolve(budget_tokens=None, prompt_tokens=1, answer_tokens=93).budget_tokens == 0
    with pytest.raises(InvalidRequest, match="answer of 94 tokens") as refused:
        resolve(budget_tokens=None, prompt_tokens=1, answer_tokens=94)
    assert refused.value.field == "answer.max_tokens"


@given(budget_tokens=st.none() | sizes, prompt_tokens=st.integers(1, 150), answer_tokens=st.integers(1, 150))
def test_refused_with_a_reason_or_all_of_it_fits(
    budget_tokens: int | None, prompt_tokens: int, answer_tokens: int
) -> None:
    room = WINDOW - prompt_tokens - 6 - answer_tokens
    try:
        budget = resolve(
            budget_tokens=budget_tokens, prompt_tokens=prompt_tokens, answer_tokens=answer_tokens
        )
    except InvalidRequest as error:
        refused = error
    else:
        refused = None
        assert room >= 0
        assert 0 <= budget.budget_tokens <= room
        if budget_tokens is not None and budget_tokens <= room:
            assert (budget.budget_tokens, budget.cause) == (budget_tokens, Cause.BUDGET)
        else:
            assert (budget.budget_tokens, budget.cause) == (room, Cause.CONTEXT)
    if refused is not None:
        assert refused.field in {
            field
            for field, is_too_much in (
                ("budget", budget_tokens is not None and budget_tokens + 1 + 6 + answer_tokens > WINDOW),
                ("answer.max_tokens", answer_tokens + 1 + 6 > WINDOW),
                ("answer.max_tokens", room < 0 and answer_tokens > prompt_tokens),
                ("messages", room < 0 and prompt_tokens >= answer_tokens),
            )
            if is_too_much
        }


@given(
    budget_tokens=st.none() | sizes,
    total_tokens=st.none() | st.integers(1, 100),
    prompt_tokens=st.integers(1, 80),
    data=st.data(),
)
def test_no_cut_outgrows_the_window(
    budget_tokens: int | None, total_tokens: int | None, prompt_tokens: int, data: st.DataObject
) -> None:
    """Whatever is sampled within the budget, the answer's prompt and the answer fit."""
    try:
        budget = resolve(budget_tokens=budget_tokens, prompt_tokens=prompt_tokens, total_tokens=total_tokens)
    except InvalidRequest:
        return
    num_sampled = data.draw(st.integers(0, budget.budget_tokens))
    last = data.draw(st.sampled_from([50, 2, 3]))
    thinking = [50] * (num_sampled - 1) + [last] * min(num_sampled, 1)
    answer_prompt = truncate_thinking(thinking, FORMAT, cause=budget.cause).answer_prompt(
        [10] * prompt_tokens
    )
    assert budget.answer_limit(num_sampled) >= 1
    assert len(answer_prompt) + budget.answer_limit(num_sampled) <= WINDOW
