"""Spans, as a receiver of OTLP/HTTP gets them."""

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
from anytime_server.telemetry.tracing import Tracer, _WarnsOnce, stages
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
    """Takes spans over OTLP/HTTP, as a collector does."""

    def __init__(self) -> None:
        received: list[ExportTraceServiceRequest] = []

        class Taking(BaseHTTPRequestHandler):
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
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
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
        """In their order."""
        found = [span for span in self.spans if span.parent_span_id == root.span_id]
        return sorted(found, key=lambda span: (span.start_time_unix_nano, span.end_time_unix_nano))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def attributes(found: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in found}


@pytest.fixture
def receiver() -> Generator[Receiver, None, None]:
    one = Receiver()
    yield one
    one.close()


@pytest.fixture
def traced(start_scheduler: Callable[..., Any], receiver: Receiver) -> Callable[..., Any]:
    """Asks a service one question after another; returns once their spans have arrived."""

    async def ask(*questions: dict[str, Any], **script: Any) -> list[Any]:
        one = await start_scheduler(**script)
        tracer = trace(one, endpoint=receiver.url)
        assert tracer is not None
        sessions = []
        for fields in questions:
            arrival = RequestContext(**fields.pop("arrival", {}))
            session = await one.submit(GenerateRequest(messages=MESSAGES, context=arrival, **fields))
            await session.ended()
            sessions.append(session)
        tracer.stop()
        return sessions

    return ask


async def test_a_session_is_one_span_with_its_stages_within(traced: Any, receiver: Receiver) -> None:
    [session] = await traced(
        {"budget_tokens": 6, "seed": 3, "arrival": {"request_id": "r-1"}}, never_end=True
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
    told, usage = attributes(root.attributes), session.done.usage
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.response.id"] == session.request.id
    assert told["gen_ai.request.seed"] == 3
    assert told["gen_ai.usage.input_tokens"] == usage.prompt_tokens
    assert told["gen_ai.usage.output_tokens"] == 6 + usage.answer_tokens
    assert told["gen_ai.usage.reasoning.output_tokens"] == 6
    assert (told["anytime.cause"], told["anytime.budget_tokens"]) == ("budget", 6)
    assert (told["anytime.request_id"], told["anytime.outcome"]) == ("r-1", "answered")
    assert "7-3" not in str(told)
    assert receiver.resource["service.name"] == "anytime"


async def test_requests_of_one_trace_stay_in_it(traced: Any, receiver: Receiver) -> None:
    arrival = {"traceparent": TRACEPARENT, "tracestate": "vendor=1"}
    await traced({"budget_tokens": 2, "arrival": arrival}, {"budget_tokens": 3, "arrival": arrival})
    roots = receiver.roots()
    assert len(roots) == 2
    assert {span.trace_id.hex() for span in receiver.spans} == {TRACE_ID}
    assert {root.parent_span_id.hex() for root in roots} == {PARENT_ID}
    assert {root.trace_state for root in roots} == {"vendor=1"}


async def test_what_the_client_does_not_sample_is_not_sent(traced: Any, receiver: Receiver) -> None:
    not_sampled = {"traceparent": TRACEPARENT.removesuffix("01") + "00"}
    await traced({"budget_tokens": 2, "arrival": not_sampled}, {"budget_tokens": 3})
    [root] = receiver.roots()
    assert root.trace_id.hex() != TRACE_ID


@pytest.mark.parametrize(
    "traceparent", ["", "nonsense", f"00-{'0' * 32}-{PARENT_ID}-01", f"ff-{TRACE_ID}-x-01"]
)
async def test_a_malformed_parent_is_ignored(traced: Any, receiver: Receiver, traceparent: str) -> None:
    await traced({"budget_tokens": 2, "arrival": {"traceparent": traceparent, "tracestate": "=,"}})
    [root] = receiver.roots()
    assert root.parent_span_id == b""


async def test_an_answer_without_thinking_has_no_thinking_span(traced: Any, receiver: Receiver) -> None:
    await traced({"budget_tokens": 0})
    [root] = receiver.roots()
    assert [span.name for span in receiver.children(root)] == ["admit", "cut", "answer"]


async def test_an_error_is_the_status(traced: Any, receiver: Receiver) -> None:
    await traced({"budget_tokens": 9}, never_end=True, die_after_tokens=3)
    [root] = receiver.roots()
    assert root.status.code == Status.STATUS_CODE_ERROR
    assert attributes(root.attributes)["error.type"] == root.status.message == "engine_dead"
    assert [span.name for span in receiver.children(root)][:2] == ["admit", "prefill"]


def test_a_cut_while_waiting_comes_after_the_wait() -> None:
    timeline = Timeline(
        arrived_at=0, opened_at=1, room_at=5, cut_at=4, first_token_at=7, answer_at=7, ended_at=9
    )
    assert stages(timeline) == [("admit", 0, 5), ("cut", 5, 7), ("answer", 7, 9)]


def test_one_that_never_got_room_was_only_admitted() -> None:
    assert stages(Timeline(arrived_at=0, opened_at=1, ended_at=9)) == [("admit", 0, 9)]


class Flaky(SpanExporter):
    """Fails or not, as it is told."""

    def __init__(self, *results: SpanExportResult) -> None:
        self._results = iter(results)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return next(self._results)


def test_one_warning_for_all_that_does_not_arrive(caplog: pytest.LogCaptureFixture) -> None:
    good, bad = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
    exporter = _WarnsOnce(Flaky(good, bad, bad, bad, good, bad))
    for _ in range(6):
        exporter.export([])
    told = [record.message for record in caplog.records]
    assert [message.split()[1:3] for message in told] == [["do", "not"], ["arrive", "again"], ["do", "not"]]


async def test_serving_goes_on_where_nobody_receives(
    start_scheduler: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]  # closed from here on
    one = await start_scheduler()
    one.active.observers.append(tracer := Tracer(f"http://127.0.0.1:{port}", model="tiny"))
    for _ in range(3):
        session = await one.submit(GenerateRequest(messages=MESSAGES, budget_tokens=2))
        await session.ended()
        assert session.done is not None
    tracer.stop()
    assert [record for record in caplog.records if record.name.startswith("opentelemetry")] == []


async def test_over_http_with_a_log_of_json(
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
    said = server.process.communicate(timeout=30)[0].splitlines()
    told = [json.loads(line) for line in said if line.startswith("{")]
    assert [line["logger"] for line in told] == ["anytime.session", "anytime.access"]
    assert {line["request_id"] for line in told} == {
        attributes(root.attributes)["anytime.request_id"] for root in receiver.roots()
    }
    assert {span.trace_id.hex() for span in receiver.spans} == {TRACE_ID}
    assert server.process.returncode == 0
