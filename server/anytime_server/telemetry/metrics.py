"""Prometheus metrics of one scheduler. Every name but those of the process begins with `anytime_`.

Sessions are counted when they end and HTTP responses when they are sent; gauges are read at each scrape. The
label `model` is the served model, an adapter or a configured alias: never a name of the client's own.
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
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from anytime_server import __version__
from anytime_server.engine import Engine
from anytime_server.reasoning import Cause, Forcing
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.session import Session, events
from anytime_server.telemetry.vllm_names import WithVllmNames

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

    def __init__(self, *, with_vllm_names: bool = False) -> None:
        """
        Args:
            with_vllm_names: also expose them under the names of vLLM's own server.
        """
        self.registry = CollectorRegistry()
        """Of prometheus-client."""
        self._exposed = WithVllmNames(self.registry) if with_vllm_names else self.registry
        self._time_to_first_token = self._seconds(
            "time_to_first_token", "From a request's arrival to its first sampled token."
        )
        self._cut_to_answer = self._seconds(
            "cut_to_answer", "From the end of the thinking to the first answer token."
        )
        self._time_to_answer = self._seconds(
            "time_to_answer", "From a request's arrival to its first answer token."
        )
        self._request = self._seconds("request", "From a request's arrival to the last token of its answer.")
        self._prefill = self._seconds("prefill", "From a request's slot to its first sampled token.")
        self._decode = self._seconds("decode", "From a request's first sampled token to its last.")
        self._queue = self._seconds("queue", "From a request's arrival to its slot in the engine.")
        self._token_seconds = self._seconds(
            "thinking_token", "From one thinking token to the next, averaged over a session.", TOKEN_SECONDS
        )
        self._deadline = self._seconds("deadline", "Deadlines of answered requests.")
        self._prompt_tokens = self._tokens("prompt_tokens", "Prompt tokens per answered request.")
        self._output_tokens = self._tokens(
            "output_tokens", "Tokens sampled per answered request: thinking, answer and early answers."
        )
        self._budget_tokens = self._tokens("budget_tokens", "Thinking budget per answered request.")
        self._thinking_tokens = self._tokens(
            "thinking_tokens", "Thinking tokens sampled per answered request."
        )
        self._overrun_tokens = self._counter(
            "budget_overrun_tokens",
            "Thinking tokens sampled beyond budgets and their grace; above 0 is a bug.",
        )
        self._answers = self._counter(
            "answers", "Answered requests, by the cause that ended the thinking.", "cause", "model"
        )
        self._finish_reasons = self._counter(
            "finish_reasons",
            "Ended requests, by the reason for the end: `stop`, `length`, or `abort` without an answer.",
            "reason",
            "model",
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
            "deadlines_missed", "Answered requests whose last token came after the deadline.", "model"
        )
        self._errors = self._counter("session_errors", "Sessions that ended in an error, by code.", "code")
        self._abandoned = self._counter("sessions_abandoned", "Sessions whose client disconnected.")
        self._sessions = self._counter(
            "sessions", "Ended sessions, by API key, outcome and model.", "key", "outcome", "model"
        )
        self._all_tokens = self._counter(
            "tokens",
            "Tokens, by API key, kind and model; `cached` counts prompt tokens.",
            "key",
            "kind",
            "model",
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
        for forcing in Forcing:
            self._leaked_answers.labels(forcing.value)
        ProcessCollector(registry=self.registry)

    def _prepare(self, model: str) -> None:
        """Make the series of a model: one that exists from the start shows its first increase."""
        for cause in Cause:
            self._answers.labels(cause.value, model)
        self._deadlines_missed.labels(model)
        self._deadline.labels(model)

    @classmethod
    def of(cls, scheduler: Scheduler, *, engine: str = "", with_vllm_names: bool = False) -> Metrics:
        """Metrics of a scheduler, of the sessions that end from now on, and of its engine.

        Args:
            engine: name of the kind of engine.
            with_vllm_names: also expose them under the names of vLLM's own server.
        """
        metrics, active = cls(with_vllm_names=with_vllm_names), scheduler.active
        metrics._prepare(scheduler.model.name)
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
            f"anytime_{name}_seconds",
            documentation,
            ("model",),
            buckets=tuple(buckets),
            registry=self.registry,
        )

    def _tokens(self, name: str, documentation: str) -> Histogram:
        return Histogram(f"anytime_{name}", documentation, ("model",), buckets=TOKENS, registry=self.registry)

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
        model = session.runtime.label_of(session.request.model_name)
        self._tool_parser_failures.inc(session.tool_parser_failures)
        self._sessions.labels(key, outcome_of(session), model).inc()
        if timeline.slot_at is not None:
            self._queue.labels(model).observe(timeline.slot_at - timeline.arrived_at)
        if session.error is not None:
            self._errors.labels(session.error.code).inc()
        if session.done is None:
            self._finish_reasons.labels("abort", model).inc()
            self._count_tokens(
                key,
                model,
                thinking=session.thinking_tokens,
                answer=session.answer_tokens,
                provisional=session.early_tokens,
            )
            self._abandoned.inc(session.error is None)
        else:
            self._observe_answer(session, session.done, key=key, model=model)

    def _count_tokens(self, key: str, model: str, **counts: int) -> None:
        for kind, count in counts.items():
            self._all_tokens.labels(key, kind, model).inc(count)

    def _observe_answer(self, session: Session, done: events.Done, *, key: str, model: str) -> None:
        stop, usage, limits = done.stop, done.usage, session.request.limits
        self._observe_times(session, done, model=model)
        self._prompt_tokens.labels(model).observe(usage.prompt_tokens)
        self._output_tokens.labels(model).observe(usage.output_tokens)
        self._budget_tokens.labels(model).observe(limits.budget_tokens)
        self._thinking_tokens.labels(model).observe(stop.thinking_tokens)
        self._overrun_tokens.inc(max(0, stop.thinking_tokens - stop.budget_tokens - limits.grace_tokens))
        self._answers.labels(stop.cause.value, model).inc()
        if session.answer is not None:
            self._finish_reasons.labels(session.answer.answer.finish_reason, model).inc()
        self._provisional_tokens.inc(usage.provisional_tokens)
        self._count_tokens(
            key,
            model,
            prompt=usage.prompt_tokens,
            cached=usage.prompt_cached_tokens,
            thinking=usage.thinking_tokens,
            inserted=usage.inserted_tokens,
            answer=usage.answer_tokens,
            provisional=usage.provisional_tokens,
        )
        if session.leaked_tokens:
            self._leaked_tokens.inc(session.leaked_tokens)
            self._leaked_answers.labels(session.request.answer.forcing.value).inc()

    def _observe_times(self, session: Session, done: events.Done, *, model: str) -> None:
        timing, timeline, deadline_s = done.timing, session.timeline, session.request.limits.deadline_s
        self._time_to_first_token.labels(model).observe(timing.time_to_first_token_s)
        self._cut_to_answer.labels(model).observe(timing.cut_to_answer_s)
        self._time_to_answer.labels(model).observe(timing.time_to_answer_s)
        self._request.labels(model).observe(timing.total_s)
        self._decode.labels(model).observe(max(0.0, timing.total_s - timing.time_to_first_token_s))
        if timeline.slot_at is not None:
            waited_s = timeline.slot_at - timeline.arrived_at
            self._prefill.labels(model).observe(max(0.0, timing.time_to_first_token_s - waited_s))
        thinking_tokens = done.stop.thinking_tokens
        if thinking_tokens > 1 and timeline.stopped_at is not None and timeline.first_token_at is not None:
            thought_s = max(0.0, timeline.stopped_at - timeline.first_token_at)
            self._token_seconds.labels(model).observe(thought_s / (thinking_tokens - 1))
        if deadline_s is not None:
            self._deadline.labels(model).observe(deadline_s)
            self._deadlines_missed.labels(model).inc(timing.total_s > deadline_s)

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

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics, and their media type: OpenMetrics if accepted, else Prometheus' text format.

        Args:
            accept: the `Accept` header of the request.
        """
        if choose_encoder(accept)[1].startswith("application/openmetrics-text"):
            # Its escaping would take the colons out of vLLM's names, which every version allows.
            content = openmetrics.generate_latest(self._exposed, escaping=openmetrics.ALLOWUTF8)
            return content, openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(self._exposed), CONTENT_TYPE_PLAIN_0_0_4


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
        if engine.num_preemptions is not None:
            yield CounterMetricFamily(
                "anytime_engine_preemptions",
                "Times that the engine put a running request back into its queue for lack of KV cache.",
                value=engine.num_preemptions,
            )
        yield CounterMetricFamily(
            "anytime_engine_restarts",
            "Times that the engine died and was restarted.",
            value=engine.num_restarts,
        )
        num_compiled, compiling_s = engine.schema_compilations
        yield SummaryMetricFamily(
            "anytime_json_schema_compile_seconds",
            "Compilations of constraints of answers (JSON schemas and others) that were new to the engine.",
            count_value=num_compiled,
            sum_value=compiling_s,
        )
