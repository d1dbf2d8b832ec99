"""Sessions as OpenTelemetry spans, sent over OTLP/HTTP: admit, prefill, think, cut, answer.

The spans of a session are made from its timeline when it has ended, so that tracing takes no time while the
session runs. Needs the extra `otel`, and is imported only if tracing is on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from anytime_server import __version__
from anytime_server.session import Session
from anytime_server.session.timeline import Timeline
from anytime_server.telemetry.metrics import outcome_of
from anytime_server.types import RequestContext

logger = logging.getLogger(__name__)

EXPORT_S = 5.0
"""Seconds to deliver a batch, retries included."""
STOP_S = 3.0
"""Seconds to deliver the last spans when the server stops."""


class Tracer:
    """Makes spans of sessions and sends them in a thread of its own."""

    def __init__(self, endpoint: str | None, *, model: str) -> None:
        """
        Args:
            endpoint: base URL of the receiver; None takes OpenTelemetry's environment variables.
            model: name of the served model.
        """
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # or it warns of every batch
        url = None if endpoint is None else f"{endpoint.rstrip('/')}/v1/traces"
        exporter = WarnOnceExporter(OTLPSpanExporter(url, timeout=EXPORT_S))
        defaults = Resource({"service.name": "anytime", "service.version": __version__})
        resource = defaults.merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("anytime_server", __version__)
        self._model = model

    def __call__(self, session: Session) -> None:
        """Make the spans of a session that has ended."""
        timeline = session.timeline
        assert timeline.ended_at is not None
        to_epoch_ns = time.time_ns() - time.monotonic_ns()

        def at(moment: float) -> int:
            return int(moment * 1e9) + to_epoch_ns

        root = self._tracer.start_span(
            f"chat {self._model}",
            context=_parent(session.request.context),
            kind=SpanKind.SERVER,
            start_time=at(timeline.arrived_at),
        )
        if root.is_recording():
            root.set_attributes(_attributes(session, self._model))
            if session.error is not None:
                root.set_status(StatusCode.ERROR, session.error.code)
            context = set_span_in_context(root, Context())
            for name, began_at, ended_at in stages(timeline):
                stage = self._tracer.start_span(name, context=context, start_time=at(began_at))
                stage.end(at(ended_at))
        root.end(at(timeline.ended_at))

    def stop(self) -> None:
        """Send the remaining spans, for at most `STOP_S` seconds."""
        stopping = threading.Thread(target=self._provider.shutdown, daemon=True)
        stopping.start()
        stopping.join(STOP_S)


def stages(timeline: Timeline) -> list[tuple[str, float, float]]:
    """The stages of an ended session, without gaps: name, start and end.

    A session without thinking has neither `prefill` nor `think`.
    """
    assert timeline.ended_at is not None
    slot_at, first_at, stopped_at = (
        timeline.slot_at,
        timeline.first_token_at,
        timeline.stopped_at,
    )
    has_thought = stopped_at is None or (first_at is not None and first_at < stopped_at)
    if stopped_at is not None and slot_at is not None:
        stopped_at = max(stopped_at, slot_at)
    moments = {
        "admit": timeline.arrived_at,
        "prefill": slot_at if has_thought else None,
        "think": first_at if has_thought else None,
        "cut": stopped_at,
        "answer": timeline.answer_at,
    }
    began = [(name, moment) for name, moment in moments.items() if moment is not None]
    ended = [moment for _, moment in began[1:]] + [timeline.ended_at]
    return [(name, began_at, ended_at) for (name, began_at), ended_at in zip(began, ended, strict=True)]


def _parent(request: RequestContext) -> Context:
    """The trace that the request's headers name; an empty context if they are missing or malformed."""
    headers = {"traceparent": request.traceparent, "tracestate": request.tracestate}
    carrier = {name: value for name, value in headers.items() if value is not None}
    return TraceContextTextMapPropagator().extract(carrier, context=Context())


def _attributes(session: Session, model: str) -> dict[str, AttributeValue]:
    """Attributes by OpenTelemetry's conventions for generative AI; our own begin with `anytime.`."""
    request, timeline, done = session.request, session.timeline, session.done
    limits, answer = request.limits, request.answer
    attributes: dict[str, AttributeValue | None] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anytime",
        "gen_ai.request.model": model,
        "gen_ai.request.max_tokens": limits.answer_limit(limits.budget_tokens) + limits.budget_tokens,
        "gen_ai.request.temperature": request.thinking.temperature,
        "gen_ai.request.top_p": request.thinking.top_p,
        "gen_ai.request.seed": request.seed,
        "gen_ai.request.stop_sequences": answer.stop or None,
        "gen_ai.response.model": model,
        "gen_ai.response.id": request.id,
        "gen_ai.usage.input_tokens": request.num_context_tokens,
        "anytime.outcome": outcome_of(session),
        "anytime.budget_tokens": limits.budget_tokens if done is None else done.stop.budget_tokens,
        "anytime.deadline_s": limits.deadline_s,
        "anytime.queue_s": None if timeline.slot_at is None else timeline.slot_at - timeline.arrived_at,
        "anytime.request_id": request.context.request_id,
        "anytime.key": request.context.client or None,
        "error.type": None if session.error is None else session.error.code,
    }
    if done is not None:
        usage = done.usage
        attributes |= {
            "gen_ai.usage.output_tokens": usage.thinking_tokens + usage.answer_tokens,
            "gen_ai.usage.reasoning.output_tokens": usage.thinking_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.prompt_cached_tokens,
            "gen_ai.response.finish_reasons": session.answer and [session.answer.answer.finish_reason],
            "anytime.cause": done.stop.cause.value,
            "anytime.provisional_tokens": usage.provisional_tokens,
            "anytime.inserted_tokens": usage.inserted_tokens,
        }
    return {name: value for name, value in attributes.items() if value is not None}


class WarnOnceExporter(SpanExporter):
    """Warns once when spans stop arriving, and once when they arrive again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._arrives = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        arrives = result is SpanExportResult.SUCCESS
        if self._arrives and not arrives:
            logger.warning("spans do not arrive at the endpoint and are lost; serving continues")
        elif arrives and not self._arrives:
            logger.warning("spans arrive again")
        self._arrives = arrives
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()
