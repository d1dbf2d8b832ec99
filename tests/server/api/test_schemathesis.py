"""The server against its own OpenAPI document: valid and invalid requests that schemathesis generates."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import schemathesis
from hypothesis import settings
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.generation.meta import TestPhase

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "7-3"}]}
BUDGET = {"thinking_token_budget": 8}
GOOD: dict[str, dict[str, Any]] = {
    "/v1/anytime": {"messages": CHAT["messages"], "budget": 8, "budgets": [4]},
    "/v1/chat/completions": CHAT | BUDGET,
    "/v1/completions": {"prompt": "7-3"},
    "/v1/messages": CHAT | {"max_tokens": 64, "thinking": {"type": "enabled", "budget_tokens": 8}},
    "/v1/messages/count_tokens": CHAT,
    "/v1/responses": {"model": "tiny", "input": "7-3"} | BUDGET,
    "/tokenize": {"prompt": "7-3"},
    "/detokenize": {"tokens": [1]},
}
"""A valid request by path. Generated requests change a field or two of it."""
STREAMING = set(GOOD) - {"/v1/messages/count_tokens", "/tokenize", "/detokenize"}


def _config(url: str, *, systematic: bool) -> SchemathesisConfig:
    allow_header = {"allow_header_conformance": {"enabled": False}}
    return SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "base-url": url,
            "continue-on-failure": True,
            "generation": {
                "max-examples": max(2, settings().max_examples // 40),
                "deterministic": True,
                "database": "none",
            },
            "phases": {"stateful": {"enabled": False}, "coverage": {"enabled": systematic}},
            # A schema cannot express that a budget fits into the window, or that a user turn is the last.
            "checks": {"positive_data_acceptance": {"enabled": False}},
            # FastAPI routes each method of a path separately, and the `Allow` header names only the first.
            "operations": [{"include-path": "/v1/responses/{response_id}", "checks": allow_header}],
        }
    )


def _thin_out(schema: schemathesis.BaseSchema) -> None:
    """Keep every fourth of thousands of systematic requests with a field at its limits or invalid."""
    seen = Counter[str]()

    @schema.hook
    def filter_case(context: schemathesis.HookContext, case: schemathesis.Case) -> bool:
        seen[case.path] += 1
        is_systematic = case.meta is not None and case.meta.phase.name is TestPhase.COVERAGE
        return not is_systematic or case.path not in GOOD or seen[case.path] % 4 == 0


def _with_good_requests(document: dict[str, Any]) -> dict[str, Any]:
    for path, body in GOOD.items():
        content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        bodies = [body] if path not in STREAMING else [body | {"stream": True}, body | {"stream": False}]
        content["examples"] = {str(number): {"value": example} for number, example in enumerate(bodies)}
    return document


def _failures(scenario: events.ScenarioFinished) -> Iterator[str]:
    for checks in scenario.recorder.checks.values():
        for check in checks:
            if (info := check.failure_info) is not None:
                yield f"{check.name}: {info.failure.title}: {info.failure.message}\n{info.code_sample}"


async def test_server_conforms_to_its_openapi_document(served: Callable[..., Any], nightly: bool) -> None:
    server = await served(thinking_tokens=20)
    document = _with_good_requests((await server.http.get("/openapi.json")).json())
    schema = schemathesis.openapi.from_dict(document, config=_config(server.url, systematic=nightly))
    _thin_out(schema)
    emitted = await asyncio.to_thread(lambda: list(from_schema(schema).execute()))
    await server.idle()
    assert len(server.scheduler.active) == 0

    assert [event for event in emitted if isinstance(event, events.NonFatalError | events.FatalError)] == []
    scenarios = [event for event in emitted if isinstance(event, events.ScenarioFinished)]
    assert [failure for scenario in scenarios for failure in _failures(scenario)] == []

    replies: dict[str, Counter[str]] = defaultdict(Counter)
    for scenario in scenarios:
        for interaction in scenario.recorder.interactions.values():
            assert interaction.response is not None
            kind = interaction.response.headers["content-type"][0].partition(";")[0]
            replies[str(scenario.label)][f"{interaction.response.status_code} {kind}"] += 1
    operations = {
        f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods
    }
    assert set(replies) == operations
    for path in GOOD:
        assert replies[f"POST {path}"]["200 application/json"] > 0
        assert (replies[f"POST {path}"]["200 text/event-stream"] > 0) == (path in STREAMING)
