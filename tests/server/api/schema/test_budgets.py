"""The aliases of the budget: each is understood, and any two that differ are refused."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from anytime_server.api.schema.budgets import BudgetAliases
from anytime_server.errors import InvalidRequest
from anytime_server.reasoning import Effort, effort_budget
from pydantic import ValidationError

AVAILABLE = 1000
OTHER_NAME = "anytime.budget"
"""A name of the budget that is no alias."""

# Aliases that give a number of tokens, by the field that errors name.
COUNTS: dict[str, Any] = {
    "thinking_token_budget": lambda tokens: {"thinking_token_budget": tokens},
    "thinking_budget": lambda tokens: {"thinking_budget": tokens},
    "thinking_budget_tokens": lambda tokens: {"thinking_budget_tokens": tokens},
    "reasoning_budget_tokens": lambda tokens: {"reasoning_budget_tokens": tokens},
    "custom_params.thinking_budget": lambda tokens: {"custom_params": {"thinking_budget": tokens}},
    "chat_template_kwargs.thinking_budget": lambda tokens: {
        "chat_template_kwargs": {"thinking_budget": tokens}
    },
    "nvext.max_thinking_tokens": lambda tokens: {"nvext": {"max_thinking_tokens": tokens}},
    "reasoning.max_tokens": lambda tokens: {"reasoning": {"max_tokens": tokens}},
    "thinking.budget_tokens": lambda tokens: {"thinking": {"type": "enabled", "budget_tokens": tokens}},
}
# Aliases that give a share of 1000.
EFFORTS: dict[str, Any] = {
    "reasoning_effort": lambda effort: {"reasoning_effort": effort},
    "reasoning.effort": lambda effort: {"reasoning": {"effort": effort}},
}
# Aliases that turn thinking off, or on without a number.
SWITCHES: dict[str, Any] = {
    "reasoning.enabled": lambda is_on: {"reasoning": {"enabled": is_on}},
    "thinking.type": lambda is_on: {"thinking": {"type": "adaptive" if is_on else "disabled"}},
    "enable_thinking": lambda is_on: {"enable_thinking": is_on},
    "chat_template_kwargs.enable_thinking": lambda is_on: {
        "chat_template_kwargs": {"enable_thinking": is_on}
    },
    "chat_template_kwargs.thinking": lambda is_on: {"chat_template_kwargs": {"thinking": is_on}},
}
OFF = {field: switch(False) for field, switch in SWITCHES.items()}
ON = {field: switch(True) for field, switch in SWITCHES.items()}
PAIRS = list(combinations([*COUNTS, *EFFORTS], 2))
# OpenRouter's shares, OpenAI's `minimal`, and `max` for all available tokens.
TOKENS_OF_1000: dict[Effort, int] = {
    "none": 0,
    "minimal": 100,
    "low": 200,
    "medium": 500,
    "high": 800,
    "xhigh": 950,
    "max": 1000,
}


def budget(*parts: dict[str, Any], more: dict[str, int | None] | None = None) -> int | None:
    """The budget of a request that is merged from `parts`."""
    fields: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            fields[name] = {**fields[name], **value} if isinstance(fields.get(name), dict) else value
    request = BudgetAliases.model_validate(fields)
    tokens, field = request.budget(more=more or {})
    if tokens is None and field is not None and field.endswith("effort"):
        effort = request.template_fields["effort"]
        return effort_budget(effort, levels={}, total_tokens=AVAILABLE, window_tokens=AVAILABLE)
    return tokens


def fields_of(field: str, tokens: int) -> dict[str, Any]:
    """The part of a request that sets the budget to `tokens` by `field`; for efforts, a share of 1000."""
    if field in COUNTS:
        return COUNTS[field](tokens)
    effort = next(effort for effort, share in TOKENS_OF_1000.items() if share == tokens)
    return EFFORTS[field](effort)


def test_request_without_a_budget_has_none() -> None:
    assert budget() is None
    assert budget({"reasoning": {}, "nvext": {}, "custom_params": {}}) is None
    assert budget(dict.fromkeys(BudgetAliases.model_fields)) is None


@pytest.mark.parametrize("field", COUNTS)
@pytest.mark.parametrize("tokens", [0, 1, 777, 100_000])
def test_every_alias_is_understood(field: str, tokens: int) -> None:
    assert budget(COUNTS[field](tokens)) == tokens


@pytest.mark.parametrize("field", EFFORTS)
@pytest.mark.parametrize("effort", TOKENS_OF_1000)
def test_effort_is_a_share_of_the_available_tokens(field: str, effort: Effort) -> None:
    assert budget(EFFORTS[field](effort)) == TOKENS_OF_1000[effort]


@pytest.mark.parametrize("field", OFF)
def test_thinking_can_be_turned_off(field: str) -> None:
    assert budget(OFF[field]) == 0


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_two_aliases_with_the_same_budget_agree(first: str, second: str) -> None:
    assert budget(fields_of(first, 500), fields_of(second, 500)) == 500


@pytest.mark.parametrize(("first", "second"), [*combinations(COUNTS, 2), *combinations(EFFORTS, 2)])
@pytest.mark.parametrize("tokens", [(200, 500), (500, 200)])
def test_two_aliases_with_different_budgets_are_refused(
    first: str, second: str, tokens: tuple[int, int]
) -> None:
    with pytest.raises(InvalidRequest, match=r"conflicting (budgets|efforts)") as refused:
        budget(fields_of(first, tokens[0]), fields_of(second, tokens[1]))
    assert refused.value.field in (first, second)
    shown = {tokens: effort for effort, tokens in TOKENS_OF_1000.items()} if first in EFFORTS else {}
    assert f"{first} ({shown.get(tokens[0], tokens[0])})" in str(refused.value)
    assert f"{second} ({shown.get(tokens[1], tokens[1])})" in str(refused.value)


@pytest.mark.parametrize("off", OFF)
@pytest.mark.parametrize("field", [*COUNTS, *EFFORTS])
def test_thinking_turned_off_agrees_with_a_budget_of_zero_only(off: str, field: str) -> None:
    # `thinking.type` and `thinking.budget_tokens` are one object: the last type applies.
    assert budget(fields_of(field, 0), OFF[off]) == 0
    with pytest.raises(InvalidRequest, match=r"conflicting (budgets|efforts)") as refused:
        budget(fields_of(field, 500), OFF[off])
    assert refused.value.field in (field, off)


def test_thinking_can_be_turned_off_by_several_aliases() -> None:
    assert budget(*OFF.values()) == 0


@pytest.mark.parametrize(("off", "on"), [(off, on) for off in [*OFF, *EFFORTS] for on in ON if off != on])
def test_thinking_turned_off_and_on_is_refused(off: str, on: str) -> None:
    turned_off = OFF[off] if off in OFF else EFFORTS[off]("none")
    with pytest.raises(InvalidRequest, match=f"{off} turns thinking off and {on} on") as refused:
        budget(turned_off, ON[on])
    assert refused.value.field == on


@pytest.mark.parametrize("on", ON)
def test_thinking_turned_on_agrees_with_every_number(on: str) -> None:
    assert budget(COUNTS["thinking_budget"](0), ON[on]) == 0
    assert budget(COUNTS["thinking_budget"](9), ON[on]) == 9


def test_all_aliases_agree_or_the_error_names_the_different_alias() -> None:
    assert budget(*(fields_of(field, 200) for field in [*COUNTS, *EFFORTS]), more={OTHER_NAME: 200}) == 200
    with pytest.raises(InvalidRequest, match=r"thinking_budget \(201\)"):
        budget(*(fields_of(field, 200) for field in [*COUNTS, *EFFORTS]), COUNTS["thinking_budget"](201))


@pytest.mark.parametrize("field", COUNTS)
def test_budget_by_another_name_is_compared_too(field: str) -> None:
    assert budget(fields_of(field, 500), more={OTHER_NAME: 500}) == 500
    assert budget(more={OTHER_NAME: 7}) == 7
    with pytest.raises(InvalidRequest, match="conflicting budgets") as refused:
        budget(fields_of(field, 500), more={OTHER_NAME: 7})
    assert refused.value.field in (field, OTHER_NAME)


@pytest.mark.parametrize("field", COUNTS)
@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("word", ["none", "low", "max"])
def test_number_beats_a_word(field: str, effort: str, word: Effort) -> None:
    assert budget(EFFORTS[effort](word), COUNTS[field](10)) == 10
    assert budget(EFFORTS[effort](word), more={OTHER_NAME: 10}) == 10


def test_sglang_processor_has_no_effect() -> None:
    processor = {"custom_logit_processor": '{"callable": "8004"}'}
    assert budget(processor, COUNTS["custom_params.thinking_budget"](9)) == 9
    assert budget(processor) is None


UNLIMITED = ("thinking_token_budget", "thinking_budget_tokens", "reasoning_budget_tokens")
OR_UNLIMITED = (*UNLIMITED, "chat_template_kwargs.thinking_budget")


@pytest.mark.parametrize("field", UNLIMITED)
def test_minus_one_is_no_limit_for_aliases_of_vllm_and_llama_cpp(field: str) -> None:
    assert budget({field: -1}) is None
    assert budget({field: -1, "thinking_token_budget": -1}) is None


@pytest.mark.parametrize("field", [name for name in COUNTS if name != "thinking_token_budget"])
def test_no_limit_and_a_limit_conflict(field: str) -> None:
    with pytest.raises(InvalidRequest, match=r"thinking_token_budget \(no limit\)"):
        budget({"thinking_token_budget": -1}, COUNTS[field](500))


@pytest.mark.parametrize("field", COUNTS)
def test_other_negative_numbers_are_refused(field: str) -> None:
    with pytest.raises(ValidationError):
        budget(COUNTS[field](-2 if field in OR_UNLIMITED else -1))


@pytest.mark.parametrize("field", COUNTS)
@pytest.mark.parametrize("tokens", [1.0, 1.5, "1", True, [1]])
def test_budget_must_be_an_integer(field: str, tokens: Any) -> None:
    with pytest.raises(ValidationError):
        budget(COUNTS[field](tokens))


@pytest.mark.parametrize("field", EFFORTS)
@pytest.mark.parametrize("effort", ["", "High", "extreme", 1, True])
def test_unknown_effort_is_refused(field: str, effort: Any) -> None:
    with pytest.raises(ValidationError):
        budget(EFFORTS[field](effort))


@pytest.mark.parametrize("kind", ["enabled", "adaptive"])
def test_thinking_without_a_number_is_no_limit(kind: str) -> None:
    assert budget({"thinking": {"type": kind}}) is None
    assert budget({"thinking": {"type": kind}}, COUNTS["thinking_budget"](9)) == 9


def test_enabled_reasoning_without_a_number_is_no_budget() -> None:
    assert budget({"reasoning": {"enabled": True}}) is None
    assert budget({"reasoning": {"enabled": True, "exclude": True, "max_tokens": 9}}) == 9


@pytest.mark.parametrize(
    "fields",
    [
        {"nvext": 1},
        {"thinking": {"budget_tokens": 1}},
        {"thinking": {"type": "on", "budget_tokens": 1}},
        {"reasoning": {"enabled": "no"}},
    ],
)
def test_wrong_types_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        budget(fields)


def test_chat_template_kwargs_are_passed_on_whole() -> None:
    kwargs = {
        "enable_thinking": True,
        "thinking_budget": 64,
        "preserve_thinking": True,
        "documents": [{"a": 1}],
    }
    request = BudgetAliases.model_validate({"chat_template_kwargs": kwargs, "reasoning_effort": "low"})
    assert request.template_fields == {"template_variables": kwargs, "effort": "low"}
    assert BudgetAliases().template_fields == {"template_variables": {}, "effort": None}


@pytest.mark.parametrize("name", ["chat_template", "messages", "tools", "add_generation_prompt", "tokenize"])
def test_arguments_of_rendering_are_no_variables(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} cannot be set by a request"):
        BudgetAliases.model_validate({"chat_template_kwargs": {name: "x"}})
