"""Spans as an OTLP/HTTP receiver gets them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from anytime_server.session.timeline import Timeline
from anytime_server.telemetry.setup import trace
from anytime_server.telemetry.tracing import Tracer, WarnOnceExporter, stages
from anytime_server.types import GenerateRequest, RequestContext
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ...servers import RealServer

MESSAGES = [{"role": "user", "content": "7-3"}]
TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
STAGES = ["admit", "prefill", "think", "cut", "answer"]


class Receiver:
    """Receives spans over OTLP/HTTP, as a collector does."""

    def __init__(self) -> None:
        received: list[ExportTraceServiceRequest] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append(ExportTraceServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._received = received
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def resource(self) -> dict[str, Any]:
        return attributes(self._received[0].resource_spans[0].resource.attributes)

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self._received
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def roots(self) -> list[Span]:
        return [span for span in self.spans if span.kind == Span.SPAN_KIND_SERVER]

    def children(self, root: Span) -> list[Span]:
        """In order."""
        found = [span for span in self.spans if span.parent_span_id == root.span_id]
        return sorted(found, key=lambda span: (span.start_time_unix_nano, span.end_time_unix_nano))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def attributes(found: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in found}


@pytest.fixture
def receiver() -> Generator[Receiver, None, None]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def traced(start_scheduler: Callable[..., Any], receiver: Receiver) -> Callable[..., Any]:
    """Sends requests to a scheduler one after another; returns when their spans have arrived."""

    async def send(*requests: dict[str, Any], **script: Any) -> list[Any]:
        scheduler = await start_scheduler(**script)
        tracer = trace(scheduler, endpoint=receiver.url)
        assert tracer is not None
        sessions = []
        for fields in requests:
            context = RequestContext(**fields.pop("context", {}))
            session = await scheduler.submit(GenerateRequest(messages=MESSAGES, context=context, **fields))
            await session.ended()
            sessions.append(session)
        tracer.stop()
        return sessions

    return send


async def test_a_session_is_a_span_that_contains_its_stages(traced: Any, receiver: Receiver) -> None:
    [session] = await traced(
        {"budget_tokens": 6, "seed": 3, "context": {"request_id": "r-1"}}, never_end=True
    )
    [root] = receiver.roots()
    assert root.name == "chat tiny"
    children = receiver.children(root)
    assert [span.name for span in children] == STAGES
    assert {span.trace_id for span in children} == {root.trace_id}
    edges = [root.start_time_unix_nano]
    for span in children:  # one after the other, without gaps
        assert span.start_time_unix_nano == edges[-1] <= span.end_time_unix_nano
        edges.append(span.end_time_unix_nano)
    assert edges[-1] == root.end_time_unix_nano
    found, usage = attributes(root.attributes), session.done.usage
    assert found["gen_ai.operation.name"] == "chat"
    assert found["gen_ai.response.id"] == session.request.id
    assert found["gen_ai.request.seed"] == 3
    assert found["gen_ai.usage.input_tokens"] == usage.prompt_tokens
    assert found["gen_ai.usage.output_tokens"] == 6 + usage.answer_tokens
    assert found["gen_ai.usage.reasoning.output_tokens"] == 6
    assert (found["anytime.cause"], found["anytime.budget_tokens"]) == ("budget", 6)
    assert (found["anytime.request_id"], found["anytime.outcome"]) == ("r-1", "answered")
    assert "7-3" not in str(found)
    assert receiver.resource["service.name"] == "anytime"


async def test_requests_of_one_trace_share_it(traced: Any, receiver: Receiver) -> None:
    context = {"traceparent": TRACEPARENT, "tracestate": "vendor=1"}
    await traced({"budget_tokens": 2, "context": context}, {"budget_tokens": 3, "context": context})
    roots = receiver.roots()
    assert len(roots) == 2
    assert {span.trace_id.hex() for span in receiver.spans} == {TRACE_ID}
    assert {root.parent_span_id.hex() for root in roots} == {PARENT_ID}
    assert {root.trace_state for root in roots} == {"vendor=1"}


async def test_unsampled_requests_are_not_sent(traced: Any, receiver: Receiver) -> None:
    not_sampled = {"traceparent": TRACEPARENT.removesuffix("01") + "00"}
    await traced({"budget_tokens": 2, "context": not_sampled}, {"budget_tokens": 3})
    [root] = receiver.roots()
    assert root.trace_id.hex() != TRACE_ID


@pytest.mark.parametrize(
    "traceparent", ["", "nonsense", f"00-{'0' * 32}-{PARENT_ID}-01", f"ff-{TRACE_ID}-x-01"]
)
async def test_a_malformed_parent_is_ignored(traced: Any, receiver: Receiver, traceparent: str) -> None:
    await traced({"budget_tokens": 2, "context": {"traceparent": traceparent, "tracestate": "=,"}})
    [root] = receiver.roots()
    assert root.parent_span_id == b""


async def test_an_answer_without_thinking_has_no_thinking_span(traced: Any, receiver: Receiver) -> None:
    await traced({"budget_tokens": 0})
    [root] = receiver.roots()
    assert [span.name for span in receiver.children(root)] == ["admit", "cut", "answer"]


async def test_an_error_sets_the_status(traced: Any, receiver: Receiver) -> None:
    await traced({"budget_tokens": 9}, never_end=True, die_after_tokens=3)
    [root] = receiver.roots()
    assert root.status.code == Status.STATUS_CODE_ERROR
    assert attributes(root.attributes)["error.type"] == root.status.message == "engine_dead"
    assert [span.name for span in receiver.children(root)][:2] == ["admit", "prefill"]


def test_a_truncation_while_waiting_comes_after_the_wait() -> None:
    timeline = Timeline(
        arrived_at=0, opened_at=1, slot_at=5, stopped_at=4, first_token_at=7, answer_at=7, ended_at=9
    )
    assert stages(timeline) == [("admit", 0, 5), ("cut", 5, 7), ("answer", 7, 9)]


def test_a_session_without_a_slot_has_one_stage() -> None:
    assert stages(Timeline(arrived_at=0, opened_at=1, ended_at=9)) == [("admit", 0, 9)]


class Flaky(SpanExporter):
    """Returns the given results."""

    def __init__(self, *results: SpanExportResult) -> None:
        self._results = iter(results)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return next(self._results)


def test_an_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    good, bad = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
    exporter = WarnOnceExporter(Flaky(good, bad, bad, bad, good, bad))
    for _ in range(6):
        exporter.export([])
    logged = [record.message for record in caplog.records]
    assert [message.split()[1:3] for message in logged] == [["do", "not"], ["arrive", "again"], ["do", "not"]]


async def test_serving_continues_without_a_receiver(
    start_scheduler: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]  # closed from here on
    scheduler = await start_scheduler()
    scheduler.active.observers.append(tracer := Tracer(f"http://127.0.0.1:{port}", model="tiny"))
    for _ in range(3):
        session = await scheduler.submit(GenerateRequest(messages=MESSAGES, budget_tokens=2))
        await session.ended()
        assert session.done is not None
    tracer.stop()
    assert [record for record in caplog.records if record.name.startswith("opentelemetry")] == []


async def test_spans_and_json_log_carry_the_same_request_id(
    start_server: Callable[..., RealServer], receiver: Receiver
) -> None:
    server = start_server(
        *("--engine", "scripted", "--log-level", "info", "--log-format", "json"),
        *("--otlp-endpoint", receiver.url),
    )
    async with server.client() as http:
        response = await http.post(
            "/v1/anytime",
            json={"messages": MESSAGES, "budget": 4, "stream": False},
            headers={"traceparent": TRACEPARENT},
        )
        assert response.status_code == 200
    server.process.terminate()
    output = server.process.communicate(timeout=30)[0].splitlines()
    records = [json.loads(line) for line in output if line.startswith("{")]
    assert [line["logger"] for line in records] == ["anytime.session", "anytime.access"]
    assert {line["request_id"] for line in records} == {
        attributes(root.attributes)["anytime.request_id"] for root in receiver.roots()
    }
    assert {span.trace_id.hex() for span in receiver.spans} == {TRACE_ID}
    assert server.process.returncode == 0
