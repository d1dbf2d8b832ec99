"""Sampling options over HTTP: accepted in every dialect, checked by name, and passed to the engine."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from anytime_server.api.schema.fields import LIKELIEST_ALONE
from anytime_server.engine import Delta, EngineRequest, Sampling
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.reasoning import SamplingDefaults, SamplingOptions

MESSAGES = [{"role": "user", "content": "7-3"}]
EOS_ID, THINK_START_ID, FOUR_ID = 259, 260, 19
BOTH: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.8,
    "top_k": 20,
    "min_p": 0.1,
    "presence_penalty": 1.5,
    "frequency_penalty": -0.5,
    "repetition_penalty": 1.1,
    "logit_bias": {"7": -100, "9": 2.5},
}
"""Options of both phases in dialects without objects for each."""
WHOLE = BOTH | {
    "bad_words": ["no"],
    "stop_token_ids": [40],
    "ignore_eos": True,
    "min_tokens": 2,
    "seed": 7,
}
DIALECTS: list[tuple[str, dict[str, Any]]] = [
    (
        "/v1/chat/completions",
        {"model": "tiny", "messages": MESSAGES, "max_tokens": 50, "thinking_budget": 20},
    ),
    ("/v1/responses", {"model": "tiny", "input": "7-3", "max_output_tokens": 50, "thinking_budget": 20}),
    (
        "/v1/messages",
        {
            "model": "tiny",
            "messages": MESSAGES,
            "max_tokens": 50,
            "thinking": {"type": "enabled", "budget_tokens": 20},
        },
    ),
]


def record(server: Any) -> list[EngineRequest]:
    """The engine requests of a server, as they come."""
    engine, found = server.scheduler.engine, list[EngineRequest]()
    generate = engine.generate

    async def recording(request: EngineRequest) -> AsyncGenerator[Delta, None]:
        found.append(request)
        async for delta in generate(request):
            yield delta

    engine.generate = recording
    return found


def changed(sampling: Sampling) -> dict[str, Any]:
    """The fields of an engine's sampling that are not as by default."""
    usual = Sampling(max_tokens=0)
    found = {field.name: getattr(sampling, field.name) for field in dataclasses.fields(Sampling)}
    return {name: value for name, value in found.items() if value != getattr(usual, name)}


def of_both(**more: Any) -> dict[str, Any]:
    return BOTH | {"logit_bias": {7: -100.0, 9: 2.5}, "bad_words": ("no",), "seed": 7} | more


@pytest.mark.parametrize(("path", "body"), DIALECTS)
async def test_every_dialect_passes_the_options_on(served: Any, path: str, body: dict[str, Any]) -> None:
    """Those that concern the end hold for the answer; the thinking only goes on after an end of turn."""
    server = await served(never_end=True)
    found = record(server)
    response = await server.http.post(path, json=body | WHOLE)
    assert response.status_code == 200, response.text
    thinking, answer = [changed(request.sampling) for request in found]
    stop_ids = thinking.pop("stop_ids")
    assert EOS_ID in stop_ids
    assert 40 not in stop_ids
    assert thinking == of_both(max_tokens=20, banned_ids={EOS_ID}, logprobs=False)
    answer.pop("logprobs")
    assert answer == of_both(max_tokens=30, min_tokens=1, stop_ids={40, THINK_START_ID})
    response = await server.http.post(path, json=body | WHOLE | {"min_tokens": 33})
    assert changed(found[-1].sampling)["min_tokens"] == 33 - 20


async def test_native_requests_give_each_phase_its_own(served: Any) -> None:
    server = await served(never_end=True)
    found = record(server)
    own = {"min_tokens": 5, "stop_token_ids": [41], "ignore_eos": True}
    await server.think(
        budget=20,
        thinking=BOTH | own | {"seed": 7, "bad_words": ["no"]},
        answer={"top_k": -1, "top_p": 0.7, "min_tokens": 3, "stop_token_ids": [40], "max_tokens": 9},
    )
    thinking, answer = [changed(request.sampling) for request in found]
    assert 41 in thinking.pop("stop_ids")
    assert thinking == of_both(max_tokens=20, min_tokens=5, banned_ids={EOS_ID}, logprobs=False)
    assert answer == {
        "max_tokens": 9,
        "min_tokens": 3,
        "temperature": 0.0,
        "top_p": 0.7,
        "seed": 7,
        "stop_ids": {40, EOS_ID, THINK_START_ID},
    }


async def test_defaults_are_the_models(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await served()
    card = SamplingOptions(temperature=0.7, top_p=0.8, top_k=20, min_p=0.0, repetition_penalty=1.05)
    defaults = SamplingDefaults(thinking=card, answer=card)
    monkeypatch.setattr(server.scheduler.model, "sampling", defaults)
    found = record(server)
    await server.think(answer={"temperature": 0.0})
    path, body = DIALECTS[0]
    await server.http.post(path, json=body | {"top_k": 5})
    sampled = [(one.sampling.temperature, one.sampling.top_k) for one in found]
    assert sampled == [(0.7, 20), (0.0, 20), (0.7, 5), (0.7, 5)]
    assert {(one.sampling.top_p, one.sampling.repetition_penalty) for one in found} == {(0.8, 1.05)}


BAD: list[tuple[str, dict[str, Any]]] = [
    ("temperature", {"temperature": 2.1}),
    ("top_p", {"top_p": -0.1}),
    ("top_k", {"top_k": -2}),
    ("top_k", {"top_k": 1.5}),
    ("min_p", {"min_p": 1.1}),
    ("presence_penalty", {"presence_penalty": 2.1}),
    ("frequency_penalty", {"frequency_penalty": -2.1}),
    ("repetition_penalty", {"repetition_penalty": 0}),
    ("logit_bias", {"logit_bias": [1]}),
    ("logit_bias", {"logit_bias": {"four": 1}}),
    ("logit_bias", {"logit_bias": {"-1": 1}}),
    ("logit_bias", {"logit_bias": {"4": 101}}),
    ("logit_bias", {"logit_bias": {"4": "1"}}),
    ("logit_bias", {"logit_bias": {"262": 1}}),
    ("logit_bias", {"logit_bias": {str(i): 1 for i in range(1025)}}),
    ("stop_token_ids.0", {"stop_token_ids": [-1]}),
    ("stop_token_ids", {"stop_token_ids": [262]}),
    ("stop_token_ids", {"stop_token_ids": [1] * 129}),
    ("ignore_eos", {"ignore_eos": 1}),
    ("min_tokens", {"min_tokens": -1}),
    ("bad_words.0", {"bad_words": [" "]}),
    ("bad_words", {"bad_words": ["x"] * 65}),
]
WHOLE_BAD: list[tuple[str, dict[str, Any]]] = [
    *BAD,
    ("min_tokens", {"min_tokens": 51}),
    ("skip_special_tokens", {"skip_special_tokens": "no"}),
    ("seed", {"seed": 2**63}),
    ("seed", {"seed": 7.0}),
    ("seed", {"seed": 1.5}),
]


@pytest.mark.parametrize(("path", "body"), DIALECTS)
async def test_share_of_nothing_leaves_the_likeliest_token(
    served: Any, path: str, body: dict[str, Any]
) -> None:
    server = await served()
    found = record(server)
    assert (await server.http.post(path, json=body | {"top_p": 0})).status_code == 200
    assert {request.sampling.top_p for request in found} == {LIKELIEST_ALONE}


@pytest.mark.parametrize(("path", "body"), DIALECTS)
async def test_every_dialect_names_a_bad_option(served: Any, path: str, body: dict[str, Any]) -> None:
    server = await served()
    for field, fields in WHOLE_BAD:
        response = await server.http.post(path, json=body | fields)
        assert response.status_code == 400, fields
        error = response.json()["error"]
        assert error.get("param", field) == field, (fields, error)
        assert error["message"].startswith(field), (fields, error)


@pytest.mark.parametrize("phase", ["thinking", "answer"])
async def test_native_requests_name_a_bad_option(served: Any, phase: str) -> None:
    server = await served()
    for field, fields in BAD:
        request = {"messages": MESSAGES, "stream": False, phase: fields}
        response = await server.http.post("/v1/anytime", json=request)
        assert response.status_code == 422, fields
        assert response.json()["error"]["field"] == f"{phase}.{field}"


async def test_options_that_the_engine_lacks_are_reported_but_not_the_models_own(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScriptedEngine, "unsupported_sampling", frozenset({"min_p", "bad_words"}))
    server = await served()
    card = SamplingOptions(temperature=0.7, min_p=0.1)
    monkeypatch.setattr(server.scheduler.model, "sampling", SamplingDefaults(thinking=card, answer=card))
    for path, body in DIALECTS:
        reply = (await server.http.post(path, json=body | {"bad_words": ["no"]})).json()
        assert reply["anytime"]["ignored"] == ["bad_words"]
        reply = (await server.http.post(path, json=body | {"min_p": 0, "bad_words": []})).json()
        assert reply["anytime"]["ignored"] == []


async def test_ignored_ends_fill_the_total(served: Any) -> None:
    server = await served(answer="42", thinking_tokens=9)
    for path, body in DIALECTS:
        response = (await server.http.post(path, json=body | {"ignore_eos": True})).json()
        usage = response["usage"]
        assert usage.get("completion_tokens", usage.get("output_tokens")) == 50
        assert response["anytime"]["stop"]["thinking_tokens"] == 9


async def test_stop_token_ends_the_answer_and_is_not_shown(served: Any) -> None:
    server = await served(answer="7 4 4")
    body = await server.think(budget=4, answer={"stop_token_ids": [FOUR_ID]})
    assert (body["answer"], body["answers"][0]["finish_reason"]) == ("7 ", "stop")
    for path, fields in DIALECTS:
        response = await server.http.post(path, json=fields | {"stop_token_ids": [FOUR_ID]})
        assert '"7 "' in response.text
        assert "7 4" not in response.text


async def test_stop_token_ends_the_thinking_naturally(served: Any) -> None:
    """It is no part of what the answer is based on."""
    server = await served(never_end=True)
    free = await server.think(budget=20, thinking={"seed": 1})
    [stop_id] = server.scheduler.model.tokenizer.encode(free["thinking"][8])
    body = await server.think(budget=20, thinking={"seed": 1, "stop_token_ids": [stop_id]})
    length = free["thinking"].index(free["thinking"][8])
    assert body["thinking"] == free["thinking"][:length]
    assert body["stop"] == {"cause": "natural", "budget_tokens": 20, "thinking_tokens": length + 1}


async def test_special_tokens_are_shown_on_request(served: Any) -> None:
    server = await served(answer="4<pad>2")
    assert (await server.think(budget=4))["answer"] == "42"
    assert (await server.think(budget=4, answer={"skip_special_tokens": False}))["answer"] == "4<pad>2"
    path, body = DIALECTS[0]
    logprobs = {"skip_special_tokens": False, "logprobs": True}
    [choice] = (await server.http.post(path, json=body | logprobs)).json()["choices"]
    assert choice["message"]["content"] == "4<pad>2"
    assert [token["token"] for token in choice["logprobs"]["content"]] == ["4", "<pad>", "2"]
    [choice] = (await server.http.post(path, json=body | {"skip_special_tokens": True})).json()["choices"]
    assert choice["message"]["content"] == "42"


async def test_answer_has_no_limit_but_the_window(served: Any) -> None:
    """Early answers have the manifest's 12 tokens; 512 - 7 prompt - 12 inserted - 20 thinking = 473."""
    server = await served(answer="4" * 600, never_end=True)
    body = await server.think(budget=20, budgets=[10])
    early, final = body["answers"]
    assert (early["answer_tokens"], early["finish_reason"]) == (12, "length")
    assert (final["answer_tokens"], final["finish_reason"]) == (473, "length")
    body = await server.think(budget=20, answer={"max_tokens": 30})
    assert body["usage"]["answer_tokens"] == 30
    path, fields = DIALECTS[0]
    whole = {name: value for name, value in fields.items() if name != "max_tokens"}
    response = (await server.http.post(path, json=whole)).json()
    assert response["usage"]["completion_tokens"] == 493


async def test_probes_that_were_cut_agree_and_a_whole_answer_follows(served: Any) -> None:
    server = await served(answer="4" * 40, never_end=True)
    body = await server.think(budget=100, stop_when={"stable": 2, "every_tokens": 10})
    assert body["stop"]["cause"] == "stable"
    assert body["answer"] == "4" * 40
    usage = body["usage"]
    assert usage["answer_tokens"] == 41
    assert 2 * 12 <= usage["provisional_tokens"] < 3 * 12  # the third probe is dropped
    short = await (await served(never_end=True)).think(
        budget=100, stop_when={"stable": 2, "every_tokens": 10}
    )
    assert (short["answer"], short["usage"]["answer_tokens"]) == ("42", 3)


async def test_explicit_budget_wins_down_to_a_reserve_or_is_refused_with_both_names(served: Any) -> None:
    server = await served(never_end=True)
    path, body = DIALECTS[0]
    response = (await server.http.post(path, json=body | {"thinking_budget": 38})).json()
    assert response["anytime"]["stop"] == {"cause": "budget", "budget_tokens": 38, "thinking_tokens": 38}
    refused = (await server.http.post(path, json=body | {"thinking_budget": 39})).json()["error"]
    assert refused["param"] == "thinking_budget"
    assert refused["message"] == (
        "thinking_budget (39) leaves 11 tokens of max_tokens (50) for the answer, which needs at least 12"
    )
    effort = body | {"reasoning_effort": "max"}
    del effort["thinking_budget"]
    assert (await server.http.post(path, json=effort)).json()["anytime"]["stop"]["budget_tokens"] == 38


async def test_started_shows_the_budget_that_applies(served: Any) -> None:
    server = await served()
    for budget, applies in ((400, 400), (481, 481), (500, 481)):
        started, *_, done = await server.stream(budget=budget)
        assert started["budget"]["tokens"] == done["stop"]["budget_tokens"] == applies
