"""Sampling options: held against engine and vocabulary, and completed by the model's defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from anytime_server.engine.constraint import Constraint
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.errors import AnytimeError, InvalidRequest, NotSupported
from anytime_server.reasoning import SamplingDefaults, SamplingOptions
from anytime_server.scheduler.sampling import SamplingResolver
from anytime_server.text.model import Model
from anytime_server.types import IgnoredFields, RequestContext

from .conftest import request

ANY_JSON = Constraint("json_schema", "{}")
EOS_ID = 259
"""Ids up to 261 exist."""
UNSUPPORTED = {"bad_words", "min_p"}


@pytest.fixture
async def resolver(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> SamplingResolver:
    monkeypatch.setattr(ScriptedEngine, "unsupported_sampling", frozenset(UNSUPPORTED))
    engine = scripted()
    await engine.start()  # its window is known then
    return SamplingResolver(tiny_model, engine)


def options(**given: Any) -> SamplingOptions:
    return SamplingOptions(**given)


REFUSED: list[tuple[dict[str, Any], type[AnytimeError], str, str]] = [
    (
        {"answer": options(logit_bias={262: 1.0})},
        InvalidRequest,
        "answer.logit_bias",
        "no token id 262.* 261",
    ),
    ({"thinking": options(logit_bias={9: 1, 999: 1})}, InvalidRequest, "thinking.logit_bias", "id 999"),
    ({"answer": options(stop_token_ids=(262,))}, InvalidRequest, "answer.stop_token_ids", "id 262"),
    ({"thinking": options(stop_token_ids=(300,))}, InvalidRequest, "thinking.stop_token_ids", "id 300"),
    (
        {"thinking": options(min_tokens=9), "budget_tokens": 8},
        InvalidRequest,
        "thinking.min_tokens",
        "thinking.min_tokens of 9 is more than budget of 8",
    ),
    (
        {"answer": options(min_tokens=9), "answer_tokens": 8},
        InvalidRequest,
        "answer.min_tokens",
        "answer.min_tokens of 9 is more than answer.max_tokens of 8",
    ),
    (
        {"answer": options(min_tokens=9), "total_tokens": 8},
        InvalidRequest,
        "answer.min_tokens",
        "answer.min_tokens of 9 is more than total_tokens of 8",
    ),
    (
        {"least_tokens": 9, "total_tokens": 8},
        InvalidRequest,
        "least_tokens",
        "least_tokens of 9 is more than total_tokens of 8",
    ),
    *(
        (
            {phase: options(min_tokens=5000)},
            InvalidRequest,
            f"{phase}.min_tokens",
            rf"^{phase}.min_tokens of 5000 is more than the model's window of \d+$",
        )
        for phase in ("thinking", "answer")
    ),
]
IGNORED: list[tuple[str, dict[str, Any], str]] = [
    ("answer.bad_words", {"answer": options(bad_words=("x",))}, "engine does not support"),
    ("thinking.min_p", {"thinking": options(min_p=0.1)}, "engine does not support"),
    *(
        (f"answer.{name}", {"answer": options(**given), "constraint": ANY_JSON}, "form")
        for name, given in (
            ("ignore_eos", {"ignore_eos": True}),
            ("min_tokens", {"min_tokens": 2}),
            ("stop_token_ids", {"stop_token_ids": (EOS_ID, 65)}),
        )
    ),
]


def test_schema_ends_an_answer_before_the_least_tokens(resolver: SamplingResolver) -> None:
    asked = request(least_tokens=20, constraint=ANY_JSON)
    assert resolver.fit(asked).least_tokens is None
    assert asked.context.ignored.fields == ["least_tokens"]
    assert resolver.fit(request(least_tokens=20)).least_tokens == 20
    harmless = request(least_tokens=1, constraint=ANY_JSON)
    resolver.fit(harmless)
    assert not harmless.context.ignored.fields


@pytest.mark.parametrize(("path", "fields", "why"), IGNORED)
def test_options_that_cannot_be_honoured_are_ignored_and_reported(
    resolver: SamplingResolver, path: str, fields: dict[str, Any], why: str
) -> None:
    asked = request(**fields)
    fitted = resolver.fit(asked)
    assert asked.context.ignored.fields == [path]
    phase, _, name = path.partition(".")
    assert getattr(getattr(fitted, phase), name) is None
    strict = request(**fields, context=RequestContext(ignored=IgnoredFields(is_strict=True)))
    with pytest.raises(NotSupported, match=why) as refused:
        resolver.fit(strict)
    assert refused.value.field == path


@pytest.mark.parametrize(("fields", "error", "field", "message"), REFUSED)
def test_impossible_options_are_refused_by_name(
    resolver: SamplingResolver, fields: dict[str, Any], error: type[AnytimeError], field: str, message: str
) -> None:
    with pytest.raises(error, match=message) as refused:
        resolver.fit(request(**fields))
    assert refused.value.field == field


def test_error_speaks_of_the_clients_own_field(resolver: SamplingResolver) -> None:
    with pytest.raises(InvalidRequest, match=r"^logit_bias: there is no token id 262"):
        resolver.fit(
            request(answer=options(logit_bias={262: 1.0}), field_names={"answer.logit_bias": "logit_bias"})
        )


@pytest.mark.parametrize(
    "fields",
    [
        {"answer": options(min_p=0.0, bad_words=(), logit_bias={261: 1.0}, stop_token_ids=(261,))},
        {"answer": options(min_tokens=8), "answer_tokens": 8, "total_tokens": 8, "least_tokens": 8},
        {"thinking": options(min_tokens=8), "budget_tokens": 8},
        {
            "answer": options(ignore_eos=False, min_tokens=1, stop_token_ids=(EOS_ID,)),
            "constraint": ANY_JSON,
        },
    ],
)
def test_options_that_can_be_honoured_pass(resolver: SamplingResolver, fields: dict[str, Any]) -> None:
    asked = request(**fields)
    resolver.fit(asked)
    assert not asked.context.ignored.fields


def test_defaults_complete_the_request_and_are_dropped_where_the_engine_cannot(
    resolver: SamplingResolver, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = SamplingDefaults(
        thinking=options(temperature=0.6, top_k=20, min_p=0.1), answer=options(temperature=0.3, top_p=0.9)
    )
    monkeypatch.setattr(tiny_model, "sampling", card)
    asked = request(thinking=options(temperature=0.0))
    resolver.fit(asked)
    assert resolver.thinking(asked) == options(temperature=0.0, top_k=20)
    assert resolver.answer(asked) == card.answer
