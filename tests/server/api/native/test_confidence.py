"""Log-probabilities are computed only for responses that report them: they cost time at each token."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from anytime_server.engine import Delta, EngineRequest

from ..conftest import QUESTION

CHAT = {"model": "tiny", **QUESTION}
STABLE: dict[str, Any] = {"stable": 2, "every_tokens": 8}
RESPONSES: dict[str, Any] = {"model": "tiny", "input": "7-3"}


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/anytime", QUESTION, True),
        ("/v1/chat/completions", CHAT, False),
        ("/v1/chat/completions", CHAT | {"logprobs": True}, True),
        ("/v1/chat/completions", CHAT | {"anytime": {"stop_when": STABLE}}, False),
        ("/v1/chat/completions", CHAT | {"anytime": {"stop_when": STABLE | {"min_confidence": 0.5}}}, True),
        ("/v1/messages", CHAT | {"max_tokens": 30}, False),
        ("/v1/responses", RESPONSES, False),
        ("/v1/responses", RESPONSES | {"include": ["message.output_text.logprobs"]}, True),
    ],
)
async def test_logprobs_are_computed_only_if_reported_or_compared(
    served: Any, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any], expected: bool
) -> None:
    server = await served()
    engine, requested = server.scheduler.engine, {"thinking": set[bool](), "answer": set[bool]()}
    generate = engine.generate

    def record(request: EngineRequest) -> AsyncGenerator[Delta, None]:
        requested["answer" if "-answer-" in request.id else "thinking"].add(request.sampling.logprobs)
        return generate(request)

    monkeypatch.setattr(engine, "generate", record)
    response = await server.http.post(path, json=body | {"stream": False})
    assert response.status_code == 200, response.text
    assert requested["thinking"] <= {False}
    assert requested["answer"] == {expected}
