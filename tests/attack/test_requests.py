"""Requests that are costly to refuse."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Generator
from typing import Any

import pytest

from ..servers import RealServer
from .guarded import (
    HEALTH_S,
    JSON,
    TIGHT,
    TIGHT_REQUESTS,
    TRAPS,
    body_of,
    message_of,
    start_guarded,
    watched,
)
from .matrix import attack

PATHS = ("/v1/anytime", "/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens")
BIG = "x" * 1_000_000
DEEP: Any = json.loads("[" * 500 + "]" * 500)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RealServer, None, None]:
    running = start_guarded(tmp_path_factory.mktemp("guarded"), "--drain-s", "3")
    yield running
    assert running.stop() == 0


async def post(server: RealServer, path: str, *bodies: Any, headers: dict[str, str] = JSON) -> list[Any]:
    """Send all bodies at the same time, and return the responses."""
    contents = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]
    async with server.client() as http:
        return await asyncio.gather(*(http.post(path, content=one, headers=headers) for one in contents))


def conversation(path: str) -> str:
    return "input" if path == "/v1/responses" else "messages"


def with_raw(path: str, field: str, value: bytes) -> bytes:
    """A short request, with a field as it is given."""
    body = {name: one for name, one in body_of(path).items() if name != field}
    return json.dumps(body)[:-1].encode() + b', "%s": %s}' % (field.encode(), value)


@attack(
    done="1 MB of empty content parts, in every dialect, four at a time",
    client="a 4xx of less than 2 kB that says what is too much; /health answers within 2 s",
    left="no memory: less than 64 MiB more",
)
@pytest.mark.parametrize("path", PATHS)
async def test_flood_of_content_parts(server: RealServer, path: str) -> None:
    flood = b'[{"role": "user", "content": [' + b"{}," * 300_000 + b"{}]}]"
    async with watched(server) as watch:
        responses = await post(server, path, *[with_raw(path, conversation(path), flood)] * 4)
    for response in responses:
        assert (response.status_code in (400, 422), message_of(response)) == (
            True,
            "body: has more than 100000 JSON values",
        )
    assert watch.slowest_health_s < HEALTH_S
    assert watch.rss_growth_mib < 64


FLOODS: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/anytime", {f"x{i}": 0 for i in range(70_000)}, "body: must not have more than 128 fields"),
    ("/v1/anytime", {"thinking": {f"x{i}": 0 for i in range(50_000)}}, "thinking: must not have"),
    ("/v1/anytime", {"messages": [{"role": "user", "content": [{}] * 30_000}]}, "messages.0.content.0"),
    (
        "/v1/anytime",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "7"}] * 5_000}]},
        "messages.0.content: list should have at most 4096 items",
    ),
    ("/v1/anytime", {"budgets": ["x"] * 90_000}, "budgets.0"),
    ("/v1/anytime", {"budgets": DEEP}, "budgets.0"),
    ("/v1/chat/completions", {"stop": [""] * 90_000}, "stop"),
    ("/v1/chat/completions", {"tools": [{}] * 40_000}, "tools.0.type"),
    ("/v1/chat/completions", {"logit_bias": {str(i): 1 for i in range(70_000)}}, "logit_bias"),
    ("/v1/chat/completions", {"metadata": {"x": DEEP}, "top_k": DEEP}, "top_k"),
    (
        "/v1/chat/completions",
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"x": DEEP * 2}}}]},
        "tools",
    ),
    (
        "/v1/chat/completions",
        {"messages": [{"role": "assistant", "tool_calls": [{}] * 40_000}]},
        "tool_calls.0",
    ),
    ("/v1/responses", {"input": [{"type": "message", "content": [{}] * 40_000}]}, "input.0"),
    ("/v1/responses", {"input": [{"type": "reasoning", "summary": [{}] * 40_000}]}, "input.0"),
    ("/v1/responses", {"metadata": {f"x{i}": 0 for i in range(50_000)}}, "metadata: must not have"),
    ("/v1/responses", {"include": ["x"] * 90_000}, "include"),
    ("/v1/messages", {"system": [{}] * 40_000}, "system.0"),
    ("/v1/messages", {"stop_sequences": [0] * 90_000}, "stop_sequences.0"),
    ("/v1/messages", {"messages": [{"role": "user", "content": [{"type": BIG}]}]}, "messages.0.content.0"),
    ("/v1/messages/count_tokens", {"tools": [{}] * 40_000}, "tools.0.name"),
    # A megabyte in a field of another kind, which no error repeats.
    ("/v1/anytime", {BIG: 0}, "xxx"),
    ("/v1/anytime", {"answer": {"forcing": BIG}}, "answer.forcing"),
    ("/v1/anytime", {"model": BIG}, "no model"),
    ("/v1/anytime", {"budget": BIG}, "budget"),
    ("/v1/anytime", {"continuation": BIG}, "continuation"),
    ("/v1/anytime", {"messages": [{"role": BIG, "content": "7"}]}, "messages.0.role"),
    ("/v1/responses", {"tools": [{"type": BIG}]}, "tools.0"),
    ("/v1/messages", {"tools": [{"name": BIG, "input_schema": {}}]}, "tools.0.name"),
    (
        "/v1/messages",
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"data": BIG}}]}]},
        "'image' is not served",
    ),
]


@attack(
    done="a field with thousands of items or names, with deep nesting, or with a megabyte of text",
    client="a 4xx of less than 2 kB that names the field; /health answers within 2 s",
    left="no memory: less than 64 MiB more after all of them",
)
async def test_floods_in_one_field(server: RealServer) -> None:
    async with watched(server) as watch:
        for path, fields, expected in FLOODS:
            [response] = await post(server, path, body_of(path, **fields))
            assert response.status_code in (400, 404, 422), (path, list(fields), response.text[:200])
            assert expected in message_of(response), (path, list(fields), response.text[:200])
    assert watch.slowest_health_s < HEALTH_S
    assert watch.rss_growth_mib < 64


@attack(
    done="JSON that a parser fails on: 500,000 brackets, 5,000 digits, bytes that are not UTF-8",
    client="a 4xx that names the body and says why",
    left="nothing",
)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"[" * 50_000, "body: is nested too deeply"),
        (b'{"x":' * 90_000, "body: is nested too deeply"),
        (b"[" * 500_000, "body: has more than 100000 JSON values"),
        (b"9" * 5_000, "body: has a number with too many digits"),
        (b"9" * 4_000, "budget"),
        (b'"\xff"', "body: not valid JSON: it is not in UTF-8"),
        (b'"\\ud800"', "budget"),
        (b'"' + b'\\"' * 400_000, "body: not valid JSON: Unterminated string"),
        (b'"",' * 340_000 + b'""', "body: has more than 100000 JSON values"),
    ],
    ids=[
        "lists",
        "objects",
        "more lists",
        "digits",
        "fewer digits",
        "bytes",
        "surrogate",
        "quotes",
        "strings",
    ],
)
async def test_json_that_no_parser_likes(server: RealServer, value: bytes, expected: str) -> None:
    async with watched(server) as watch:
        [response] = await post(server, "/v1/anytime", with_raw("/v1/anytime", "budget", value))
    assert response.status_code == 422
    assert expected in message_of(response)
    assert watch.slowest_health_s < HEALTH_S
    [answered] = await post(server, "/v1/anytime", body_of("/v1/anytime", budget=0, stream=False))
    assert answered.status_code == 200


@attack(
    done="text of many commas, escapes and a NUL, which only looks like many values",
    client="its answer",
    left="nothing",
)
async def test_harmless_text_is_not_refused(server: RealServer) -> None:
    text = '\x00{"a": [' + ",[{" * 40_000 + '\\"'
    [response] = await post(
        server,
        "/v1/messages/count_tokens",
        body_of(
            "/v1/messages/count_tokens",
            messages=[
                {"role": "user", "content": "7"},
                {"role": "assistant", "content": text + "</think>"},
                {"role": "user", "content": "7"},
            ],
        ),
    )
    assert response.status_code == 200, response.text
    assert response.json()["input_tokens"] < 100


@attack(
    done="requests that are refused for their fields, more than the key may send in a minute",
    client="422, and from the limit on 429, also for a valid request",
    left="nothing",
)
async def test_refused_requests_count(server: RealServer) -> None:
    wrong = body_of("/v1/anytime", budget="many")
    statuses = [
        (await post(server, "/v1/anytime", wrong, headers=TIGHT))[0].status_code
        for _ in range(TIGHT_REQUESTS + 2)
    ]
    assert statuses == [422] * TIGHT_REQUESTS + [429] * 2
    for path in PATHS:
        [valid] = await post(server, path, body_of(path), headers=TIGHT)
        assert valid.status_code == 429
    [other] = await post(server, "/v1/anytime", body_of("/v1/anytime", budget=0, stream=False))
    assert other.status_code == 200


@attack(
    done="a message at which the chat template divides by zero, fails, recurses or counts to a billion",
    client="a 4xx that names the messages",
    left="nothing",
)
@pytest.mark.parametrize("message", TRAPS)
async def test_chat_template_fails_on_a_message(server: RealServer, message: str) -> None:
    for path in PATHS:
        question = {conversation(path): [{"role": "user", "content": message}]}
        [response] = await post(server, path, body_of(path, **question))
        assert response.status_code in (400, 422)
        assert "chat template refuses these messages" in message_of(response)


@attack(
    done="six prompts of 1 MB at once, a thousand times the model's window",
    client="a 4xx that names the messages and the window; /health answers within 2 s",
    left="no memory: less than 128 MiB more",
)
@pytest.mark.parametrize("text", ["7-3 ", "\N{SNOWMAN}", "x", "<think>"])
async def test_prompts_far_over_the_window(server: RealServer, text: str) -> None:
    prompt = text * (1_000_000 // len(text.encode()))
    bodies = [body_of("/v1/anytime", messages=[{"role": "user", "content": prompt}])] * 6
    async with watched(server) as watch:
        responses = await post(
            server, "/v1/anytime", *(json.dumps(body, ensure_ascii=False).encode() for body in bodies)
        )
    for response in responses:
        assert response.status_code == 422
        assert "has more tokens than the model's window" in message_of(response)
    assert watch.slowest_health_s < HEALTH_S
    assert watch.rss_growth_mib < 128


@attack(
    done="prompts of 1 MB whose clients leave at once, then SIGTERM",
    client="-",
    left="nothing: the server ends with status 0 within 20 s",
)
async def test_clients_leave_during_long_prompts(server: RealServer) -> None:
    """The last test of the module: it ends the server."""
    body = json.dumps(body_of("/v1/anytime", messages=[{"role": "user", "content": "7-3 " * 250_000}]))
    head = f"POST /v1/anytime HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in JSON.items())
    host, port = server.address
    for _ in range(6):
        _, writer = await asyncio.open_connection(host, port)
        writer.write(f"{head}\r\n{body}".encode())
        await writer.drain()
        writer.close()
    began_at = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    output, _ = await asyncio.to_thread(server.process.communicate, timeout=30)
    assert (server.process.returncode, "Traceback" in output) == (0, False), output
    assert time.monotonic() - began_at < 20
