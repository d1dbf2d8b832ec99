"""Token limits within the window: hand-computed boundaries, and a property test that everything fits."""

from __future__ import annotations

from typing import Any

import pytest
from anytime_server.errors import InvalidRequest
from anytime_server.reasoning import (
    Cause,
    ReasoningFormat,
    TokenLimits,
    resolve_limits,
    truncate_thinking,
    usual_answer_tokens,
)
from hypothesis import given
from hypothesis import strategies as st

# Inserts at most 3 + 1 + 2 = 6 tokens.
FORMAT = ReasoningFormat(
    think_start_ids=(1,),
    think_end_ids=(2,),
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
    **limits: Any,
) -> TokenLimits:
    return resolve_limits(
        budget_tokens=budget_tokens,
        total_tokens=total_tokens,
        deadline_s=None,
        window_tokens=WINDOW,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
        reasoning=FORMAT,
        **limits,
    )


@pytest.mark.parametrize(
    ("requested", "prompt_tokens", "budget_tokens", "cause"),
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
def test_budget_is_lowered_to_fit_the_window(
    requested: int | None, prompt_tokens: int, budget_tokens: int, cause: Cause
) -> None:
    limits = resolve(budget_tokens=requested, prompt_tokens=prompt_tokens)
    assert (limits.budget_tokens, limits.cause) == (budget_tokens, cause)


def test_deadline_is_kept() -> None:
    limits = resolve_limits(
        budget_tokens=5, deadline_s=1.5, window_tokens=100, prompt_tokens=1, answer_tokens=1, reasoning=FORMAT
    )
    assert limits.deadline_s == 1.5
    assert limits.max_budget_tokens == 100 - 1 - 1 - 6


@pytest.mark.parametrize(
    ("requested", "total_tokens", "budget_tokens", "cause", "longest_answer"),
    [
        # 10 of the total are kept for the answer, which also gets the tokens that the thinking leaves.
        (None, 30, 20, Cause.BUDGET, 30),
        (5, 30, 5, Cause.BUDGET, 30),
        (25, 30, 20, Cause.BUDGET, 30),
        # A total of no more than the answer tokens is all for the answer.
        (None, 4, 0, Cause.BUDGET, 4),
        (9, 10, 0, Cause.BUDGET, 10),
        # 100 - 20 prompt - 6 inserted = 74 for both: a greater total changes nothing for the thinking.
        (16, 100, 16, Cause.BUDGET, 74),
        (None, 100, 64, Cause.CONTEXT, 74),
        (None, 74, 64, Cause.BUDGET, 74),
    ],
)
def test_total_is_shared_by_thinking_and_answer(
    requested: int | None, total_tokens: int, budget_tokens: int, cause: Cause, longest_answer: int
) -> None:
    limits = resolve(budget_tokens=requested, total_tokens=total_tokens)
    assert (limits.budget_tokens, limits.cause) == (budget_tokens, cause)
    assert limits.answer_limit(0) == longest_answer
    assert limits.answer_limit(limits.budget_tokens) == longest_answer - budget_tokens >= limits.answer_tokens


def test_answer_may_use_the_window_unless_the_client_limits_it() -> None:
    """100 - 20 prompt - 6 inserted = 74 for both; 10 are expected, and are the limit of early answers."""
    limits = resolve(budget_tokens=30)
    assert [limits.answer_limit(thinking_tokens) for thinking_tokens in (0, 30)] == [74, 44]
    assert [limits.early_answer_limit(thinking_tokens) for thinking_tokens in (0, 30, 70)] == [10, 10, 4]
    limits = resolve(budget_tokens=30, max_answer_tokens=40)
    assert limits.budget_tokens == 30
    assert [limits.answer_limit(thinking_tokens) for thinking_tokens in (0, 30, 50)] == [40, 40, 24]
    assert limits.early_answer_limit(30) == 40


@pytest.mark.parametrize(
    ("requested", "limits", "budget_tokens", "cause"),
    [
        # 74 for both; 40 are expected for the answer, and 16 are its reserve.
        (None, {}, 34, Cause.CONTEXT),
        (34, {}, 34, Cause.BUDGET),
        (58, {}, 58, Cause.BUDGET),
        (59, {}, 58, Cause.CONTEXT),
        (50, {"reserve_tokens": 30}, 44, Cause.CONTEXT),
        (50, {"max_answer_tokens": 40}, 34, Cause.CONTEXT),
        (50, {"lowers_budget": True}, 34, Cause.CONTEXT),
        # The estimate takes no more than half of a total, rounded up, unless the reserve is more.
        (None, {"total_tokens": 60}, 30, Cause.BUDGET),
        (None, {"total_tokens": 41}, 20, Cause.BUDGET),
        (None, {"total_tokens": 2, "reserve_tokens": 1}, 1, Cause.BUDGET),
        (None, {"total_tokens": 1, "reserve_tokens": 1}, 0, Cause.BUDGET),
        (None, {"total_tokens": 60, "reserve_tokens": 35}, 25, Cause.BUDGET),
        (None, {"total_tokens": 60, "max_answer_tokens": 40}, 20, Cause.BUDGET),
        (40, {"total_tokens": 60}, 40, Cause.BUDGET),
        (44, {"total_tokens": 60}, 44, Cause.BUDGET),
        (45, {"total_tokens": 60}, 44, Cause.BUDGET),
        (40, {"total_tokens": 60, "lowers_budget": True}, 30, Cause.BUDGET),
    ],
)
def test_budget_leaves_the_answer_its_reserve_only(
    requested: int | None, limits: dict[str, Any], budget_tokens: int, cause: Cause
) -> None:
    resolved = resolve(budget_tokens=requested, answer_tokens=40, **limits)
    assert (resolved.budget_tokens, resolved.cause) == (budget_tokens, cause)


@pytest.mark.parametrize(
    ("answer_tokens", "window_tokens", "usual"), [(12, 512, 12), (12, 40, 10), (256, 512, 128), (7, 3, 1)]
)
def test_usual_answer_is_the_manifests_within_a_quarter_of_the_window(
    answer_tokens: int, window_tokens: int, usual: int
) -> None:
    assert usual_answer_tokens(answer_tokens, window_tokens=window_tokens) == usual


def test_budget_over_the_window_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"101 tokens .* window of 100") as refused:
        resolve(budget_tokens=101)
    assert refused.value.field == "budget"


def test_prompt_that_leaves_no_room_for_the_answer_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"prompt has 85 tokens.* 1 over") as refused:
        resolve(budget_tokens=0, prompt_tokens=85)
    assert refused.value.field == "messages"


@pytest.mark.parametrize(
    ("prompt_tokens", "field"), [(30, "answer.min_tokens"), (69, "answer.min_tokens"), (70, "messages")]
)
def test_least_answer_that_does_not_fit_is_refused_by_the_larger_part(prompt_tokens: int, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        resolve(budget_tokens=0, prompt_tokens=prompt_tokens, answer_tokens=70, reserve_tokens=70)
    assert refused.value.field == field


def test_answer_that_leaves_no_room_for_any_prompt_is_refused() -> None:
    # 93 + 6 inserted + 1 prompt = 100.
    assert resolve(budget_tokens=None, prompt_tokens=1, max_answer_tokens=93).budget_tokens == 0
    with pytest.raises(InvalidRequest, match="answer of 94 tokens") as refused:
        resolve(budget_tokens=None, prompt_tokens=1, max_answer_tokens=94)
    assert refused.value.field == "answer.max_tokens"
    assert resolve(budget_tokens=None, prompt_tokens=1, answer_tokens=94).answer_limit(0) == 93


@given(budget_tokens=st.none() | sizes, prompt_tokens=st.integers(1, 150), answer_tokens=st.integers(1, 150))
def test_every_request_fits_or_is_refused_with_the_field_at_fault(
    budget_tokens: int | None, prompt_tokens: int, answer_tokens: int
) -> None:
    room = WINDOW - prompt_tokens - 6 - answer_tokens
    try:
        limits = resolve(
            budget_tokens=budget_tokens, prompt_tokens=prompt_tokens, max_answer_tokens=answer_tokens
        )
    except InvalidRequest as error:
        refused = error
    else:
        refused = None
        assert room >= 0
        assert 0 <= limits.budget_tokens <= room
        if budget_tokens is not None and budget_tokens <= room:
            assert (limits.budget_tokens, limits.cause) == (budget_tokens, Cause.BUDGET)
        else:
            assert (limits.budget_tokens, limits.cause) == (room, Cause.CONTEXT)
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
def test_every_truncation_leaves_room_for_the_answer(
    budget_tokens: int | None, total_tokens: int | None, prompt_tokens: int, data: st.DataObject
) -> None:
    """The answer's prompt and the answer fit, however the thinking within the budget ends."""
    try:
        limits = resolve(budget_tokens=budget_tokens, prompt_tokens=prompt_tokens, total_tokens=total_tokens)
    except InvalidRequest:
        return
    num_sampled = data.draw(st.integers(0, limits.budget_tokens))
    last = data.draw(st.sampled_from([50, 2, 3]))
    thinking = [50] * (num_sampled - 1) + [last] * min(num_sampled, 1)
    answer_prompt = truncate_thinking(thinking, FORMAT, cause=limits.cause).answer_prompt(
        [10] * prompt_tokens
    )
    assert limits.answer_limit(num_sampled) >= 1
    assert len(answer_prompt) + limits.answer_limit(num_sampled) <= WINDOW


@pytest.mark.parametrize(
    ("total_tokens", "prompt_tokens", "max_budget_tokens"),
    [
        (None, 20, 100 - 20 - 6 - 10),
        (30, 20, 30 - 10),
        (100, 20, 100 - 20 - 6 - 10),
        (4, 20, 0),  # all of the total is the answer's
        (30, 74, 100 - 74 - 6 - 10),
    ],
)
def test_budget_can_be_raised_to_what_window_and_total_leave(
    total_tokens: int | None, prompt_tokens: int, max_budget_tokens: int
) -> None:
    limits = resolve(budget_tokens=0, total_tokens=total_tokens, prompt_tokens=prompt_tokens)
    assert limits.max_budget_tokens == max_budget_tokens


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"budget_tokens": 101}, "budget", "a budget of 101 tokens"),
        ({"budget_tokens": None, "total_tokens": 101}, "total_tokens", "a limit of 101 tokens"),
    ],
)
def test_number_over_the_window_is_refused_by_name(fields: Any, field: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        resolve(**fields)
    assert str(refused.value) == f"{message} is more than the model's window of 100"
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("requested", "grace", "limits", "found"),
    [
        # 100 - 20 prompt - 6 inserted - 10 answer = 64 to think.
        (40, 24, {}, 24),
        (40, 25, {}, 24),
        (64, 5, {}, 0),
        (None, 5, {}, 0),
        (0, 5, {}, 0),  # no thinking has no sentence
        (20, 15, {"total_tokens": 40}, 10),
    ],
)
def test_grace_leaves_the_answer_its_room(
    requested: int | None, grace: int, limits: dict[str, Any], found: int
) -> None:
    resolved = resolve(budget_tokens=requested, grace_tokens=grace, **limits)
    assert resolved.grace_tokens == found
    assert resolved.most_thinking_tokens == resolved.budget_tokens + found


@pytest.mark.parametrize(
    ("limits", "most", "cause"),
    [
        ({}, 64, Cause.CONTEXT),
        ({"grace_tokens": 4}, 60, Cause.CONTEXT),
        ({"total_tokens": 50}, 40, Cause.BUDGET),
        ({"max_budget_tokens": 30}, 30, Cause.BUDGET),
        ({"max_budget_tokens": 30, "grace_tokens": 4}, 26, Cause.BUDGET),
        ({"max_budget_tokens": 90}, 64, Cause.CONTEXT),
    ],
)
def test_budget_can_be_raised_within_the_servers_maximum(
    limits: dict[str, Any], most: int, cause: Cause
) -> None:
    resolved = resolve(budget_tokens=20, **limits)
    assert (resolved.max_budget_tokens, resolved.max_budget_cause) == (most, cause)


def test_cap_of_answers_keeps_no_room() -> None:
    resolved = resolve(budget_tokens=None, answer_tokens=10, answer_cap_tokens=500)
    assert (resolved.budget_tokens, resolved.max_answer_tokens) == (64, 500)
    resolved = resolve(budget_tokens=None, answer_tokens=10, answer_cap_tokens=4)
    assert (resolved.budget_tokens, resolved.answer_limit(0)) == (70, 4)
    resolved = resolve(budget_tokens=None, max_answer_tokens=10, answer_cap_tokens=500)
    assert (resolved.budget_tokens, resolved.max_answer_tokens) == (64, 10)
