"""Logging and counting of requests and sessions."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator
from io import StringIO
from typing import Any

import pytest
from anytime_server.telemetry.logs import JsonFormatter
from anytime_server.telemetry.setup import observe

Lines = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Generator[Lines, None, None]:
    """Returns the records of a logger, at level `debug`."""
    written, logger = StringIO(), logging.getLogger("anytime")
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield lambda name: [
        line for line in map(json.loads, written.getvalue().splitlines()) if line["logger"] == name
    ]
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


async def test_a_request_and_its_session_carry_the_same_id(served: Any, lines: Lines) -> None:
    server = await served(never_end=True)
    observe(server.scheduler, engine="scripted")
    await server.think(budget=5)
    [request], [session] = lines("anytime.access"), lines("anytime.session")
    assert request["request_id"] == session["request_id"]
    assert {name: request[name] for name in ("level", "method", "path", "status", "client")} == {
        "level": "info",
        "method": "POST",
        "path": "/v1/anytime",
        "status": 200,
        "client": "127.0.0.1",
    }
    assert session["outcome"] == "answered"
    assert (session["cause"], session["budget_tokens"], session["thinking_tokens"]) == ("budget", 5, 5)
    assert 0 <= session["queue_s"] <= session["time_to_answer_s"] <= session["total_s"]


async def test_probes_are_logged_at_debug(served: Any, lines: Lines) -> None:
    server = await served()
    for path in ("/health", "/ready", "/metrics"):
        await server.http.get(path)
    assert [line["level"] for line in lines("anytime.access")] == ["debug"] * 3


@pytest.mark.parametrize("with_content", [False, True])
async def test_content_is_logged_only_on_request(served: Any, lines: Lines, with_content: bool) -> None:
    server = await served(answer="forty-two")
    observe(server.scheduler, engine="scripted", log_content=with_content)
    await server.think(messages=[{"role": "user", "content": "a secret?"}], budget=3)
    logged = json.dumps(lines("anytime.session") + lines("anytime.access"))
    assert ("a secret?" in logged, "forty-two" in logged) == (with_content, with_content)


async def test_a_failed_session_is_logged_with_its_code(served: Any, lines: Lines) -> None:
    server = await served(never_end=True, die_after_tokens=3)
    observe(server.scheduler, engine="scripted")
    assert (await server.stream(budget=9))[-1]["type"] == "error"
    [session] = lines("anytime.session")
    assert (session["outcome"], session["error"]) == ("failed", "engine_dead")


async def test_responses_are_counted_by_path_template(served: Any) -> None:
    server = await served()
    for name in ("a", "b"):
        await server.http.post(f"/v1/anytime/{name}/answer")
    await server.http.get("/no/such/path")
    text = (await server.http.get("/metrics")).text
    assert 'anytime_http_responses_total{path="/v1/anytime/{session_id}/answer",status="404"} 2.0' in text
    assert 'anytime_http_responses_total{path="unknown",status="404"} 1.0' in text
    assert 'anytime_http_errors_total{code="unknown_session",key="",status="404"} 2.0' in text
    assert 'anytime_http_errors_total{code="not_found",key="",status="404"} 1.0' in text
