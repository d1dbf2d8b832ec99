"""Health, readiness, version, metrics and the OpenAPI document."""

from __future__ import annotations

from typing import Any

import pytest
from anytime_server import __version__
from anytime_server.engine.scripted import ScriptedEngine
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families


async def test_ready_and_version(served: Any) -> None:
    server = await served()
    assert (await server.http.get("/health")).json() == {"status": "alive"}
    assert (await server.http.get("/ready")).status_code == 200
    for path in ("/health", "/ready"):  # some load balancers send HEAD
        assert (await server.http.head(path)).status_code == 200
    versions = (await server.http.get("/version")).json()
    assert versions["version"] == __version__
    assert versions["fastapi"].startswith("0.136")


async def test_health_fails_while_the_engine_is_stuck(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await served()
    monkeypatch.setattr(ScriptedEngine, "is_stuck", True)
    response = await server.http.get("/health")
    assert response.status_code == 503
    assert response.json() == {"status": "stuck", "reason": "the engine has been down for too long"}


async def test_metrics_are_in_prometheus_format(served: Any) -> None:
    server = await served(never_end=True)
    await server.think(budget=10)
    await server.stream(budget=20)
    response = await server.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    assert all(name.startswith(("anytime_", "process_")) for name, _ in samples)
    assert samples["anytime_answers_total", ("budget", "tiny")] == 2
    assert samples["anytime_thinking_tokens_sum", ("tiny",)] == 30
    for name in ("time_to_first_token", "cut_to_answer", "time_to_answer"):
        assert samples[f"anytime_{name}_seconds_count", ("tiny",)] == 2
    assert samples["anytime_sessions_running", ()] == 0
    assert samples["anytime_sessions_waiting", ()] == 0
    assert samples["process_cpu_seconds_total", ()] > 0
    assert samples["process_resident_memory_bytes", ()] > 0


async def test_metrics_are_openmetrics_where_that_is_accepted(served: Any) -> None:
    server = await served()
    await server.think(budget=3)
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    response = await server.http.get("/metrics", headers={"Accept": accept})
    assert response.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert response.text.endswith("# EOF\n")
    families = {family.name: family for family in openmetrics(response.text)}
    assert families["anytime_answers"].type == "counter"


async def test_openapi_document_describes_the_endpoints(served: Any) -> None:
    server = await served()
    document = (await server.http.get("/openapi.json")).json()
    assert {"/v1/anytime", "/v1/chat/completions", "/v1/models", "/metrics"} <= set(document["paths"])
    fields = document["components"]["schemas"]["AnytimeRequest"]["properties"]
    assert {"budget", "messages", "thinking", "answer", "stream"} <= set(fields)
