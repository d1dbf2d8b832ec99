"""Operators' defaults and maxima, shares and grace, as clients see them in every dialect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anytime_server.auth import RequestLimits
from anytime_server.scheduler.operator_limits import OperatorLimits
from anytime_server.text.model import Model

from .conftest import Served
from .keys import bearer, key, keyring

USER = [{"role": "user", "content": "7-3"}]
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
DIALECTS: dict[str, dict[str, Any]] = {
    CHAT: {"messages": USER},
    RESPONSES: {"input": "7-3"},
    MESSAGES: {"messages": USER, "max_tokens": 400, "thinking": {"type": "adaptive"}},
}
NUMBER: dict[str, dict[str, Any]] = {
    CHAT: {"thinking_token_budget": 90},
    RESPONSES: {"reasoning": {"max_tokens": 90}},
    MESSAGES: {"thinking": {"type": "enabled", "budget_tokens": 90}},
}
"""A budget of 90 tokens as each dialect writes it."""
NUMBER_FIELD = {
    CHAT: "thinking_token_budget",
    RESPONSES: "reasoning.max_tokens",
    MESSAGES: "thinking.budget_tokens",
}


async def limited(
    served: Callable[..., Any], *, app: Any = None, script: Any = None, **limits: Any
) -> Served:
    """A server with limits, whose model thinks to the end of any budget."""
    operator = limits.pop("operator", None) or OperatorLimits(server=RequestLimits(**limits))
    return await served(never_end=True, options={"limits": operator}, app=app, **script or {})


async def post(server: Served, path: str, *parts: dict[str, Any], **options: Any) -> dict[str, Any]:
    body = DIALECTS[path] | {name: value for part in parts for name, value in part.items()}
    response = await server.http.post(path, json=body, **options)
    assert response.status_code == 200, response.text
    return response.json()


def stop(body: dict[str, Any]) -> tuple[str, int, int]:
    found = body.get("anytime", body)["stop"]
    return found["cause"], found["budget_tokens"], found["thinking_tokens"]


@pytest.mark.parametrize("path", DIALECTS)
async def test_default_budget_applies_where_the_request_has_none(
    served: Callable[..., Any], path: str
) -> None:
    server = await limited(served, default_budget=30)
    body = await post(server, path)
    assert (stop(body), body["anytime"]["ignored"]) == (("budget", 30, 30), [])
    assert stop(await post(server, path, NUMBER[path])) == ("budget", 90, 90)


@pytest.mark.parametrize("path", DIALECTS)
async def test_larger_budget_is_lowered_to_the_maximum_and_reported(
    served: Callable[..., Any], path: str
) -> None:
    server = await limited(served, max_budget=40)
    body = await post(server, path, NUMBER[path])
    assert (stop(body), body["anytime"]["ignored"]) == (("budget", 40, 40), [NUMBER_FIELD[path]])
    body = await post(server, path)
    assert (stop(body), body["anytime"]["ignored"]) == (("budget", 40, 40), [])


async def test_maximum_comes_before_the_window(served: Callable[..., Any]) -> None:
    server = await limited(served, max_budget=40)
    body = await post(server, CHAT, {"thinking_token_budget": 9_999, "max_tokens": 100})
    assert (stop(body), body["anytime"]["ignored"]) == (("budget", 40, 40), ["thinking_token_budget"])


async def test_maximum_over_the_window_is_none(served: Callable[..., Any]) -> None:
    server = await limited(served, max_budget=99_999, default_budget=9)
    body = await post(server, CHAT, {"thinking_token_budget": -1})
    assert stop(body)[0] == "context"
    refused = await server.http.post(CHAT, json=DIALECTS[CHAT] | {"thinking_token_budget": 9_999})
    assert refused.status_code == 400


@pytest.mark.parametrize("path", DIALECTS)
async def test_strict_servers_refuse_a_larger_budget(served: Callable[..., Any], path: str) -> None:
    server = await limited(served, max_budget=40, app={"is_strict": True})
    response = await server.http.post(path, json=DIALECTS[path] | NUMBER[path])
    assert response.status_code == 400
    assert f"{NUMBER_FIELD[path]}: the maximum here is 40 thinking tokens" in response.text
    assert stop(await post(server, path)) == ("budget", 40, 40)


@pytest.mark.parametrize(
    ("fields", "field", "most"),
    [
        ({"budget": 41}, "budget", "40 thinking tokens"),
        ({"budget": {"tokens": 38, "grace": 3}}, "budget.grace", "40 thinking tokens"),
        ({"budget": {"share": 100}}, "budget", "40 thinking tokens"),
        ({"budget": {"deadline_ms": 9001}}, "budget.deadline_ms", "9000 ms"),
        ({"answer": {"max_tokens": 21}}, "answer.max_tokens", "20 answer tokens"),
    ],
)
async def test_native_dialect_refuses_what_is_over_a_maximum(
    served: Callable[..., Any], fields: dict[str, Any], field: str, most: str
) -> None:
    server = await limited(served, max_budget=40, max_deadline_ms=9000, max_answer_tokens=20)
    response = await server.http.post("/v1/anytime", json={"messages": USER} | fields)
    assert response.status_code == 422, response.text
    assert response.json()["error"]["field"] == field
    assert f"{field}: the maximum here is {most}" in response.json()["error"]["message"]


async def test_started_event_shows_what_applies(served: Callable[..., Any]) -> None:
    server = await limited(served, default_budget=30, max_deadline_ms=9000)
    [started, *_, done] = await server.stream()
    assert started["budget"] == {"tokens": 30, "deadline_ms": 9000}
    assert stop(done) == ("budget", 30, 30)


async def test_budget_cannot_be_extended_over_the_maximum(served: Callable[..., Any]) -> None:
    server = await limited(served, max_budget=40, script={"seconds_per_token": 0.002})
    async with server.http.stream("POST", "/v1/anytime", json={"messages": USER, "budget": 20}) as response:
        lines = response.aiter_lines()
        session_id = response.headers["x-request-id"]
        await anext(lines)
        extended = await server.http.post(f"/v1/anytime/{session_id}/extend", json={"tokens": 100})
        assert extended.json()["budget_tokens"] == 40
        done = [line async for line in lines if line.startswith("data: ")][-1]
    assert '"stop":{"cause":"budget","budget_tokens":40,"thinking_tokens":40}' in done


@pytest.mark.parametrize("path", DIALECTS)
async def test_maximum_of_answers_needs_no_room(served: Callable[..., Any], path: str) -> None:
    """The answer ends at the maximum, and the thinking has the room that it has without."""
    script = {"answer": "x" * 200, "never_end": True}
    free = await served(**script)
    most = OperatorLimits(server=RequestLimits(max_answer_tokens=150))
    server = await served(**script, options={"limits": most})
    bodies = [await post(one, path, {"stream": False}) for one in (free, server)]
    assert stop(bodies[0])[1] == stop(bodies[1])[1]
    native = [await one.think(budget=10) for one in (free, server)]
    assert [body["usage"]["answer_tokens"] for body in native] == [201, 150]
    assert native[1]["answers"][-1]["finish_reason"] == "length"


async def test_limits_of_keys_and_aliases(served: Callable[..., Any]) -> None:
    operator = OperatorLimits(
        server=RequestLimits(default_budget=10),
        aliases={"fast": RequestLimits(default_budget=20, max_budget=60)},
    )
    keys = keyring(key("alice", default_budget=30, max_budget=50), key("bob"))
    server = await limited(served, operator=operator, app={"keyring": keys})
    for name, model, default, most in [
        ("bob", "tiny", 10, 90),
        ("bob", "fast", 20, 60),
        ("alice", "fast", 30, 50),
    ]:
        options: dict[str, Any] = {"headers": bearer(name)}
        assert stop(await post(server, CHAT, {"model": model}, **options))[1] == default
        assert stop(await post(server, CHAT, {"model": model}, NUMBER[CHAT], **options))[1] == most


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize(
    ("share", "tokens"),
    [
        ({"share": 2.5}, 17),
        ({"share": 2.5, "of": "prompt", "tokens": 9}, 9),
        ({"share": 2, "tokens": 99}, 14),
    ],
)
async def test_budget_is_a_share_of_the_prompt(
    served: Callable[..., Any], path: str, share: dict[str, Any], tokens: int
) -> None:
    """The prompt has 7 tokens."""
    server = await limited(served)
    body = await post(server, path, {"anytime": {"budget": share}})
    assert body["anytime"]["usage"]["prompt_tokens"] == 7
    assert stop(body) == ("budget", tokens, tokens)


async def test_budget_is_a_share_of_max_tokens(served: Callable[..., Any]) -> None:
    server = await limited(served)
    budget = {"share": 0.5, "of": "max_tokens"}
    for path, field in {CHAT: "max_tokens", RESPONSES: "max_output_tokens", MESSAGES: "max_tokens"}.items():
        body = await post(server, path, {"anytime": {"budget": budget}, field: 101})
        assert stop(body) == ("budget", 50, 50)
    assert stop(await server.think(budget=budget, answer={"max_tokens": 30})) == ("budget", 15, 15)
    for path, body, field in [
        ("/v1/anytime", {"messages": USER, "budget": budget}, "budget.of"),
        (CHAT, {"messages": USER, "anytime": {"budget": budget}}, "anytime.budget.of"),
        ("/v1/completions", {"prompt": "7+3", "anytime": {"budget": budget}}, "anytime.budget.of"),
    ]:
        refused = await server.http.post(path, json=body)
        assert refused.status_code in (400, 422)
        assert field in refused.text


@pytest.mark.parametrize(
    "budget",
    [
        {"share": -0.1},
        {"share": 101},
        {"share": "half"},
        {"share": True},
        {"of": "prompt"},
        {"share": 0.5, "of": "window"},
        {"share": 1.5, "of": "max_tokens"},
        {"tokens": 1, "grace": -1},
        {"tokens": 1, "grace": 4097},
        {"tokens": 1, "grace": 1.5},
    ],
)
async def test_impossible_shares_and_graces_are_refused(served: Callable[..., Any], budget: Any) -> None:
    server = await limited(served)
    for path, body in [
        ("/v1/anytime", {"messages": USER, "budget": budget}),
        (CHAT, {"messages": USER, "anytime": {"budget": budget}}),
    ]:
        response = await server.http.post(path, json=body)
        assert response.status_code in (400, 422), response.text
        assert "budget." in response.text


@pytest.mark.parametrize("path", DIALECTS)
async def test_grace_goes_on_to_the_end_of_a_line(served: Callable[..., Any], path: str) -> None:
    server = await limited(served, script={"line_tokens": 10})
    body = await post(server, path, {"anytime": {"budget": {"tokens": 14, "grace": 32}}})
    assert stop(body) == ("budget", 14, 20)
    body = await post(server, path, {"anytime": {"budget": {"tokens": 14, "grace": 3}}})
    assert stop(body) == ("budget", 14, 17)
    body = await post(server, path, NUMBER[path], {"anytime": {"budget": {"grace": 5}}})
    assert stop(body) == ("budget", 90, 90)


async def test_started_event_shows_the_grace(served: Callable[..., Any]) -> None:
    server = await limited(served, script={"line_tokens": 10})
    [started, *_, done] = await server.stream(budget={"tokens": 14, "grace": 3})
    assert started["budget"] == {"tokens": 14, "grace": 3, "deadline_ms": None}
    assert stop(done) == ("budget", 14, 17)


async def test_grace_must_leave_the_answer_its_reserve(served: Callable[..., Any]) -> None:
    server = await limited(served)
    budget = {"anytime": {"budget": {"tokens": 60, "grace": 40}}}
    assert stop(await post(server, CHAT, budget, {"max_tokens": 112})) == ("budget", 60, 100)
    refused = await server.http.post(CHAT, json={"messages": USER, "max_tokens": 111} | budget)
    assert refused.status_code == 400
    assert "anytime.budget (60 with 40 of grace) leaves 11 tokens of max_tokens (111)" in refused.text


async def test_keys_are_charged_for_the_grace(served: Callable[..., Any]) -> None:
    keys = keyring(key("alice", thinking_tokens_per_minute=20))
    server = await limited(served, app={"keyring": keys})
    for grace, status in ((7, 422), (6, 200)):
        body = {"messages": USER, "budget": {"tokens": 14, "grace": grace}, "stream": False}
        response = await server.http.post("/v1/anytime", json=body, headers=bearer("alice"))
        assert response.status_code == status, response.text


@pytest.mark.parametrize("path", DIALECTS)
async def test_efforts_follow_the_operators_option(served: Callable[..., Any], path: str) -> None:
    server = await limited(served, operator=OperatorLimits(efforts={"low": 33}))
    effort: dict[str, Any] = {
        CHAT: {"reasoning_effort": "low"},
        RESPONSES: {"reasoning": {"effort": "low"}},
        MESSAGES: {"output_config": {"effort": "low"}},
    }[path]
    body = await post(server, path, effort)
    assert (stop(body), body["anytime"]["ignored"]) == (("budget", 33, 33), [])


async def test_efforts_follow_the_manifest(
    served: Callable[..., Any], tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tiny_model.manifest.model_copy(update={"efforts": {"high": 44}})
    monkeypatch.setattr(tiny_model, "manifest", manifest)
    server = await limited(served)
    assert stop(await post(server, CHAT, {"reasoning_effort": "high"})) == ("budget", 44, 44)
    # Without a level of its own, a share of the window or of the client's limit.
    assert stop(await post(server, CHAT, {"reasoning_effort": "low"})) == ("budget", 102, 102)
    assert stop(await post(server, CHAT, {"reasoning_effort": "low", "max_tokens": 100})) == (
        "budget",
        20,
        20,
    )
    models = (await server.http.get("/v1/models")).json()
    assert models["data"][0]["anytime"]["efforts"] == {"high": 44}


async def test_large_windows_give_efforts_a_number_of_tokens(
    served: Callable[..., Any], tiny_model: Any
) -> None:
    """Without a limit of the client's, `minimal` is no share of a window of 131,072 tokens."""
    server = await served(window_tokens=131_072, thinking_tokens=5)
    for effort, tokens in {"minimal": 512, "medium": 8192, "high": 24_576}.items():
        assert stop(await post(server, CHAT, {"reasoning_effort": effort}))[1] == tokens


async def test_template_that_shows_the_budget_shows_a_share(
    served: Callable[..., Any], tiny_checkpoint: Path
) -> None:
    """The share is of the prompt without the number, which is 7 tokens."""
    template = (
        "{% for m in messages %}<|user|>{{ m.content }}<|end|>{% endfor %}"
        "{% if thinking_budget is defined %}[{{ thinking_budget }}]{% endif %}<|assistant|><think>"
    )
    model = Model.load(tiny_checkpoint, chat_template=template)
    server = await served(model=model, never_end=True)
    body = await post(server, CHAT, {"anytime": {"budget": {"share": 2}}})
    assert stop(body) == ("budget", 14, 14)
    assert body["anytime"]["usage"]["prompt_tokens"] == 7 + len("[14]")
