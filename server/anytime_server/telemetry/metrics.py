"""Prometheus metrics of one scheduler. Every name begins with `anytime_`.

Sessions are counted when they end and HTTP responses when they are sent; gauges are read at each scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from anytime_server import __version__
from anytime_server.engine import Engine
from anytime_server.reasoning import Cause, Forcing
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.session import Session

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
TOKEN_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
TOKENS = (0, *(2**power for power in range(3, 17)))


def outcome_of(session: Session) -> Literal["answered", "failed", "abandoned"]:
    """How a session ended."""
    if session.done is not None:
        return "answered"
    return "abandoned" if session.error is None else "failed"


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        """Of prometheus-client."""
        self._time_to_first_token = self._seconds(
            "time_to_first_token", "From a request's arrival to its first sampled token."
        )
        self._cut_to_answer = self._seconds(
            "cut_to_answer", "From the end of the thinking to the first answer token."
        )
        self._time_to_answer = self._seconds(
            "time_to_answer", "From a request's arrival to its first answer token."
        )
        self._queue = self._seconds("queue", "From a request's arrival to its slot in the engine.")
        self._token_seconds = self._seconds(
            "thinking_token", "From one thinking token to the next, averaged over a session.", TOKEN_SECONDS
        )
        self._deadline = self._seconds("deadline", "Deadlines of answered requests.")
        self._budget_tokens = self._tokens("budget_tokens", "Thinking budget per answered request.")
        self._thinking_tokens = self._tokens(
            "thinking_tokens", "Thinking tokens sampled per answered request."
        )
        self._overrun_tokens = self._counter(
            "budget_overrun_tokens", "Thinking tokens sampled beyond budgets; above 0 is a bug."
        )
        self._answers = self._counter(
            "answers", "Answered requests, by the cause that ended the thinking.", "cause"
        )
        self._provisional_tokens = self._counter(
            "provisional_tokens",
            "Tokens sampled for early answers, including those that only test agreement.",
        )
        self._leaked_tokens = self._counter(
            "leaked_tokens", "Tokens of answers that continued the thinking and were left out."
        )
        self._leaked_answers = self._counter(
            "leaked_answers",
            "Sessions whose answers contained thinking, by the way the answer was forced.",
            "forcing",
        )
        self._tool_parser_failures = self._counter(
            "tool_parser_failures", "Failures of the tool parser, after which a call is shown as text."
        )
        self._deadlines_missed = self._counter(
            "deadlines_missed", "Answered requests whose last token came after the deadline."
        )
        self._errors = self._counter("session_errors", "Sessions that ended in an error, by code.", "code")
        self._abandoned = self._counter("sessions_abandoned", "Sessions whose client disconnected.")
        self._sessions = self._counter(
            "sessions", "Ended sessions, by API key and outcome.", "key", "outcome"
        )
        self._all_tokens = self._counter(
            "tokens", "Tokens, by API key and kind; `cached` counts prompt tokens.", "key", "kind"
        )
        self._responses = self._counter(
            "http_responses", "HTTP responses, by path template and status.", "path", "status"
        )
        self._http_errors = self._counter(
            "http_errors",
            "HTTP responses with a status of 400 or above, by API key, status and error code.",
            "key",
            "status",
            "code",
        )
        self._ignored_fields = self._counter(
            "ignored_fields", "Requests with a field that had no effect, by field.", "field"
        )
        for cause in Cause:  # a series that exists from the start shows its first increase
            self._answers.labels(cause.value)
        for forcing in Forcing:
            self._leaked_answers.labels(forcing.value)
        ProcessCollector(namespace="anytime", registry=self.registry)

    @classmethod
    def of(cls, scheduler: Scheduler, *, engine: str = "") -> Metrics:
        """Metrics of a scheduler, of the sessions that end from now on, and of its engine.

        Args:
            engine: name of the kind of engine.
        """
        metrics, active = cls(), scheduler.active
        metrics._describe(version=__version__, engine=engine, model=scheduler.model.name)
        metrics._gauge(
            "ready", "1 if requests are accepted, else 0.", lambda: scheduler.not_ready_because is None
        )
        metrics._gauge(
            "sessions_running", "Sessions that think or answer.", lambda: len(active) - active.num_waiting
        )
        metrics._gauge("sessions_waiting", "Sessions that wait for a slot.", lambda: active.num_waiting)
        metrics._gauge(
            "engine_requests", "Requests in the engine.", lambda: scheduler.engine.load().num_requests
        )
        metrics.registry.register(_EngineCollector(scheduler.engine))
        active.observers.append(metrics.observe)
        return metrics

    def _seconds(self, name: str, documentation: str, buckets: Iterable[float] = SECONDS) -> Histogram:
        return Histogram(
            f"anytime_{name}_seconds", documentation, buckets=tuple(buckets), registry=self.registry
        )

    def _tokens(self, name: str, documentation: str) -> Histogram:
        return Histogram(f"anytime_{name}", documentation, buckets=TOKENS, registry=self.registry)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"anytime_{name}", documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str, value: Callable[[], float]) -> None:
        Gauge(f"anytime_{name}", documentation, registry=self.registry).set_function(value)

    def _describe(self, **labels: str) -> None:
        documentation = "Version, engine and model of the server; always 1."
        Gauge("anytime_build_info", documentation, labels, registry=self.registry).labels(**labels).set(1)

    def observe(self, session: Session) -> None:
        """Count a session that has ended."""
        key, timeline = session.request.context.client, session.timeline
        self._tool_parser_failures.inc(session.tool_parser_failures)
        self._sessions.labels(key, outcome_of(session)).inc()
        if timeline.slot_at is not None:
            self._queue.observe(timeline.slot_at - timeline.arrived_at)
        if session.error is not None:
            self._errors.labels(session.error.code).inc()
        if session.done is None:
            for kind, count in {
                "thinking": session.thinking_tokens,
                "answer": session.answer_tokens,
                "provisional": session.early_tokens,
            }.items():
                self._all_tokens.labels(key, kind).inc(count)
            self._abandoned.inc(session.error is None)
        else:
            self._observe_answer(session, key)

    def _observe_answer(self, session: Session, key: str) -> None:
        assert session.done is not None
        stop, timing, usage = session.done.stop, session.done.timing, session.done.usage
        limits, timeline = session.request.limits, session.timeline
        self._time_to_first_token.observe(timing.time_to_first_token_s)
        self._cut_to_answer.observe(timing.cut_to_answer_s)
        self._time_to_answer.observe(timing.time_to_answer_s)
        self._budget_tokens.observe(limits.budget_tokens)
        self._thinking_tokens.observe(stop.thinking_tokens)
        self._overrun_tokens.inc(max(0, stop.thinking_tokens - stop.budget_tokens))
        if (
            stop.thinking_tokens > 1
            and timeline.stopped_at is not None
            and timeline.first_token_at is not None
        ):
            thought_s = max(0.0, timeline.stopped_at - timeline.first_token_at)
            self._token_seconds.observe(thought_s / (stop.thinking_tokens - 1))
        self._answers.labels(stop.cause.value).inc()
        self._provisional_tokens.inc(usage.provisional_tokens)
        for kind, count in {
            "prompt": usage.prompt_tokens,
            "cached": usage.prompt_cached_tokens,
            "thinking": usage.thinking_tokens,
            "inserted": usage.inserted_tokens,
            "answer": usage.answer_tokens,
            "provisional": usage.provisional_tokens,
        }.items():
            self._all_tokens.labels(key, kind).inc(count)
        if session.leaked_tokens:
            self._leaked_tokens.inc(session.leaked_tokens)
            self._leaked_answers.labels(session.request.answer.forcing.value).inc()
        if limits.deadline_s is not None:
            self._deadline.observe(limits.deadline_s)
            self._deadlines_missed.inc(timing.total_s > limits.deadline_s)

    def observe_response(self, path: str, status: int, *, key: str, code: str = "") -> None:
        """Count a response.

        Args:
            path: template of the path, such as /v1/models/{name}.
            key: name of the API key; empty without one.
            code: of the error in the body; empty without one.
        """
        self._responses.labels(path, str(status)).inc()
        if status >= 400:
            self._http_errors.labels(key, str(status), code).inc()

    def observe_ignored(self, fields: Iterable[str]) -> None:
        """Count the fields of a request that had no effect, each once.

        Args:
            fields: from a set of names that clients cannot add to.
        """
        for field in set(fields):
            self._ignored_fields.labels(field).inc()

    def exposition(self) -> bytes:
        """All metrics, in Prometheus' text format."""
        return generate_latest(self.registry)


class _EngineCollector(Collector):
    """Reads the engine's state at each scrape."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterable[Metric]:
        engine = self._engine
        yield GaugeMetricFamily(
            "anytime_engine_up", "1 if the engine accepts requests, else 0.", value=engine.alive
        )
        yield GaugeMetricFamily(
            "anytime_engine_places",
            "Sequences that may think at the same time.",
            value=engine.load().max_num_seqs,
        )
        if engine.kv_cache_use is not None:
            yield GaugeMetricFamily(
                "anytime_engine_kv_cache_ratio",
                "Share of the engine's KV cache in use by running requests.",
                value=engine.kv_cache_use,
            )
        yield CounterMetricFamily(
            "anytime_engine_restarts",
            "Times that the engine died and was restarted.",
            value=engine.num_restarts,
        )
        num_compiled, compiling_s = engine.schema_compilations
        yield SummaryMetricFamily(
            "anytime_json_schema_compile_seconds",
            "Compilations of JSON schemas that were new to the engine.",
            count_value=num_compiled,
            sum_value=compiling_s,
        )
