"""Streams end in exactly one terminal event, also if the encoder fails."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest
from anytime_server.api.anthropic.encoder import MessagesEncoder
from anytime_server.api.native.encoder import NativeEncoder
from anytime_server.api.openai.chat.encoder import ChatEncoder
from anytime_server.api.openai.responses.encoder import ResponsesEncoder
from anytime_server.api.sse import Encoder
from anytime_server.session import events

from .conftest import QUESTION

BODY: dict[str, Any] = QUESTION | {"model": "tiny", "stream": True}
DIALECTS: list[tuple[str, dict[str, Any], type[Encoder[Any]]]] = [
    ("/v1/anytime", BODY, NativeEncoder),
    ("/v1/chat/completions", BODY, ChatEncoder),
    ("/v1/chat/completions", BODY | {"n": 3}, ChatEncoder),
    ("/v1/responses", {"model": "tiny", "input": "7-3", "stream": True}, ResponsesEncoder),
    ("/v1/messages", BODY | {"max_tokens": 100}, MessagesEncoder),
]


@pytest.mark.parametrize(("path", "body", "encoder"), DIALECTS)
@pytest.mark.parametrize("fails_at", [events.Started, events.AnswerStarted, events.Done])
async def test_failing_encoder_ends_the_stream_in_one_error(
    served: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    path: str,
    body: dict[str, Any],
    encoder: type[Encoder[Any]],
    fails_at: type,
) -> None:
    encode = encoder.encode

    def fail(self: Any, index: int, event: events.Event) -> Any:
        if isinstance(event, fails_at):
            raise ZeroDivisionError("secret")
        return encode(self, index, event)

    monkeypatch.setattr(encoder, "encode", fail)
    server = await served(never_end=True)
    response = await server.http.post(path, json=body)
    assert response.status_code == 200
    *_, last = [line for line in response.text.splitlines() if line.startswith("data: ")]
    assert "unexpected error" in last
    assert response.text.count("unexpected error") == 1
    assert "[DONE]" not in response.text
    assert json.loads(last.removeprefix("data: "))
    assert "secret" not in response.text
    assert "cannot be encoded" in caplog.text
    await server.idle()
    assert len(server.scheduler.active) == 0


@pytest.mark.parametrize(("path", "body"), [(path, body) for path, body, _ in DIALECTS])
async def test_a_disconnect_from_a_whole_response_leaves_nothing_and_logs_nothing(
    served: Any, caplog: pytest.LogCaptureFixture, path: str, body: dict[str, Any]
) -> None:
    server = await served(never_end=True, seconds_per_token=0.05)
    thinks = {"thinking": {"type": "adaptive"}} if path == "/v1/messages" else {}
    request = asyncio.create_task(server.http.post(path, json=body | thinks | {"stream": False}))
    while not server.scheduler.engine.load().num_requests:
        await asyncio.sleep(0.005)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await server.idle()
    gc.collect()
    await asyncio.sleep(0)
    assert len(server.scheduler.active) == 0
    assert "never retrieved" not in caplog.text
