"""Operators' defaults and maxima: which apply, and what is reported."""

from __future__ import annotations

from typing import Any

import pytest
from anytime_server.auth import Account, Limits, RequestLimits
from anytime_server.errors import InvalidRequest, NotSupported
from anytime_server.reasoning import SamplingOptions
from anytime_server.scheduler.operator_limits import OperatorLimits, with_share
from anytime_server.types import BudgetShare, GenerateRequest, IgnoredFields, RequestContext

from .conftest import request

WINDOW = 1000


def limited(
    limits: dict[str, Any] | OperatorLimits,
    *,
    key: dict[str, Any] | None = None,
    alias: str | None = None,
    **fields: Any,
) -> GenerateRequest:
    """The request within the server's limits, from a key with limits of its own."""
    operator = (
        limits if isinstance(limits, OperatorLimits) else OperatorLimits(server=RequestLimits(**limits))
    )
    account = None if key is None else Account("key", Limits(**key))
    made = request(**fields, context=RequestContext(account=account))
    return operator.apply(made, alias=alias, efforts={}, window_tokens=WINDOW)


def test_without_limits_nothing_changes() -> None:
    made = request(budget_tokens=5000, deadline_s=9.0, answer_tokens=7000, grace_tokens=3)
    assert OperatorLimits().apply(made, alias=None, efforts={}, window_tokens=WINDOW) == made


@pytest.mark.parametrize(
    ("limits", "fields", "budget", "ignored"),
    [
        ({"default_budget": 50}, {}, 50, []),
        ({"default_budget": 50}, {"budget_tokens": 60}, 60, []),
        ({"default_budget": 50}, {"budget_tokens": 0}, 0, []),
        ({"default_budget": 50}, {"is_unlimited": True}, None, []),
        ({"default_budget": 50}, {"effort": "none"}, 0, []),
        ({"default_budget": 5000}, {}, WINDOW, []),
        # A default never refuses a request.
        ({"default_budget": 50}, {"budgets": (8, 90)}, 90, []),
        ({"default_budget": 50}, {"thinking": SamplingOptions(min_tokens=70)}, 70, []),
        ({"max_budget": 40}, {}, 40, []),
        ({"max_budget": 40}, {"budget_tokens": 40}, 40, []),
        ({"max_budget": 40}, {"budget_tokens": 41}, 40, ["budget"]),
        ({"max_budget": 40}, {"is_unlimited": True}, 40, ["budget"]),
        ({"max_budget": 40}, {"effort": "high"}, 40, []),  # a word is no number of the client's
        ({"max_budget": 40, "default_budget": 50}, {}, 40, []),
        ({"max_budget": 0}, {}, 0, []),
    ],
)
def test_budget_is_lowered_to_the_maximum(
    limits: dict[str, Any], fields: dict[str, Any], budget: int | None, ignored: list[str]
) -> None:
    made = limited(limits, **fields)
    assert (made.budget_tokens, made.context.ignored.fields) == (budget, ignored)
    assert made.max_budget_tokens == limits.get("max_budget")
    own = fields.get("budget_tokens")
    assert made.lowers_budget is (budget is not None and budget != own)


@pytest.mark.parametrize(
    ("fields", "budget", "grace", "ignored"),
    [
        ({"budget_tokens": 30, "grace_tokens": 10}, 30, 10, []),
        ({"budget_tokens": 35, "grace_tokens": 10}, 35, 5, ["budget.grace"]),
        ({"budget_tokens": 90, "grace_tokens": 10}, 40, 0, ["budget"]),
        ({"grace_tokens": 10}, 30, 10, []),
        ({"grace_tokens": 50}, 0, 40, ["budget.grace"]),
    ],
)
def test_maximum_includes_the_grace(
    fields: dict[str, Any], budget: int, grace: int, ignored: list[str]
) -> None:
    made = limited({"max_budget": 40}, **fields)
    assert (made.budget_tokens, made.grace_tokens, made.context.ignored.fields) == (budget, grace, ignored)


@pytest.mark.parametrize(
    ("limits", "given", "deadline_s", "ignored"),
    [
        ({"default_deadline_ms": 1500}, None, 1.5, []),
        ({"default_deadline_ms": 1500}, 9.0, 9.0, []),
        ({"max_deadline_ms": 800}, None, 0.8, []),
        ({"max_deadline_ms": 800}, 0.8, 0.8, []),
        ({"max_deadline_ms": 800}, 0.9, 0.8, ["budget.deadline_ms"]),
        ({"max_deadline_ms": 800, "default_deadline_ms": 1500}, None, 0.8, []),
        ({"max_deadline_ms": 800, "default_deadline_ms": 300}, None, 0.3, []),
    ],
)
def test_deadline_is_shortened_to_the_maximum(
    limits: dict[str, int], given: float | None, deadline_s: float, ignored: list[str]
) -> None:
    made = limited(limits, deadline_s=given)
    assert (made.deadline_s, made.context.ignored.fields) == (deadline_s, ignored)


@pytest.mark.parametrize(
    ("limits", "fields", "answer", "cap", "ignored"),
    [
        ({"default_answer_tokens": 20}, {}, None, 20, []),
        ({"default_answer_tokens": 20}, {"answer_tokens": 90}, 90, None, []),
        ({"default_answer_tokens": 20}, {"total_tokens": 90}, None, None, []),
        ({"default_answer_tokens": 20}, {"answer": SamplingOptions(min_tokens=30)}, None, 30, []),
        ({"max_answer_tokens": 20}, {}, None, 20, []),
        ({"max_answer_tokens": 20}, {"answer_tokens": 20}, 20, 20, []),
        ({"max_answer_tokens": 20}, {"answer_tokens": 21}, 20, 20, ["answer.max_tokens"]),
        ({"max_answer_tokens": 20, "default_answer_tokens": 30}, {}, None, 20, []),
        # A limit on thinking and answer together is over it if the answer could be in any case.
        ({"max_answer_tokens": 20}, {"total_tokens": 90}, None, 20, []),
        ({"max_answer_tokens": 20}, {"total_tokens": 90, "budget_tokens": 70}, None, 20, []),
        (
            {"max_answer_tokens": 20},
            {"total_tokens": 91, "budget_tokens": 70},
            None,
            20,
            ["answer.max_tokens"],
        ),
    ],
)
def test_answer_is_shortened_to_the_maximum(
    limits: dict[str, int], fields: dict[str, Any], answer: int | None, cap: int | None, ignored: list[str]
) -> None:
    made = limited(limits, **fields)
    found = (made.answer_tokens, made.answer_cap_tokens, made.context.ignored.fields)
    assert found == (answer, cap, ignored)
    assert made.total_tokens == fields.get("total_tokens")


def test_most_specific_default_applies_and_the_smallest_maximum() -> None:
    operator = OperatorLimits(
        server=RequestLimits(default_budget=10, default_deadline_ms=1000, max_budget=300),
        aliases={
            "fast": RequestLimits(default_budget=20, max_budget=100, default_answer_tokens=5),
            "*": RequestLimits(max_budget=50),
        },
    )
    key = {"default_budget": 30, "max_budget": 200}
    for alias, with_key, default, most in [
        (None, False, 10, 300),
        ("fast", False, 20, 100),
        ("fast", True, 30, 100),
        ("*", False, 10, 50),
        (None, True, 30, 200),
    ]:
        fields = {"alias": alias, "key": key if with_key else None}
        assert limited(operator, **fields).budget_tokens == default
        assert limited(operator, **fields, budget_tokens=WINDOW).budget_tokens == most
    made = limited(operator, alias="fast", key=key)
    assert (made.deadline_s, made.answer_cap_tokens) == (1.0, 5)


@pytest.mark.parametrize(
    ("fields", "field", "most"),
    [
        ({"budget_tokens": 41}, "budget", "40 thinking tokens"),
        ({"deadline_s": 9.0}, "budget.deadline_ms", "800 ms"),
        ({"answer_tokens": 21}, "answer.max_tokens", "20 answer tokens"),
    ],
)
def test_strict_servers_refuse_and_name_the_maximum(fields: dict[str, Any], field: str, most: str) -> None:
    limits = RequestLimits(max_budget=40, max_deadline_ms=800, max_answer_tokens=20)
    made = request(**fields, context=RequestContext(ignored=IgnoredFields(is_strict=True)))
    with pytest.raises(NotSupported, match=f"the maximum here is {most}") as refused:
        OperatorLimits(server=limits).apply(made, alias=None, efforts={}, window_tokens=WINDOW)
    assert refused.value.field == field


def test_efforts_of_the_operator_override_those_of_the_model() -> None:
    operator = OperatorLimits(efforts={"low": 33})
    for effort, tokens in {"low": 33, "medium": 44, "high": 800}.items():
        made = operator.apply(
            request(effort=effort), alias=None, efforts={"low": 22, "medium": 44}, window_tokens=WINDOW
        )
        assert (made.budget_tokens, made.lowers_budget) == (tokens, True)


@pytest.mark.parametrize("fields", [{"budget_tokens": 9}, {"is_unlimited": True}])
def test_a_number_beats_an_effort(fields: dict[str, Any]) -> None:
    assert limited({}, effort="high", **fields).budget_tokens == fields.get("budget_tokens")
    shared = limited({"default_budget": 5}, effort="high", budget_share=BudgetShare(share=0.5))
    assert shared.budget_tokens is None


@pytest.mark.parametrize(
    ("share", "fields", "tokens"),
    [
        (BudgetShare(share=0.5), {}, 50),
        (BudgetShare(share=0.504), {}, 50),
        (BudgetShare(share=0), {}, 0),
        (BudgetShare(share=100), {}, WINDOW),
        (BudgetShare(share=0.5), {"budget_tokens": 49}, 49),
        (BudgetShare(share=0.5), {"budget_tokens": 51}, 50),
        (BudgetShare(share=0.5, of="max_tokens"), {"total_tokens": 70}, 35),
        (BudgetShare(share=0.5, of="max_tokens"), {"answer_tokens": 30}, 15),
    ],
)
def test_share_is_of_the_named_number(share: BudgetShare, fields: dict[str, Any], tokens: int) -> None:
    made = with_share(request(budget_share=share, **fields), prompt_tokens=101, window_tokens=WINDOW)
    assert (made.budget_tokens, made.lowers_budget) == (tokens, False)


def test_share_of_a_missing_limit_is_refused() -> None:
    made = request(budget_share=BudgetShare(share=0.5, of="max_tokens"))
    with pytest.raises(InvalidRequest, match=r"no answer.max_tokens to take a share of") as refused:
        with_share(made, prompt_tokens=1, window_tokens=WINDOW)
    assert refused.value.field == "budget.of"


def test_share_is_held_against_the_maximum() -> None:
    made = limited({"max_budget": 40}, budget_share=BudgetShare(share=0.5))
    assert made.context.ignored.fields == []
    made = with_share(made, prompt_tokens=100, window_tokens=WINDOW)
    assert (made.budget_tokens, made.context.ignored.fields) == (40, ["budget"])
