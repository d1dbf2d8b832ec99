"""What Prometheus sees. Every name begins with `anytime_`.

Told of sessions once they have ended, of HTTP responses as they are sent; what is true at the moment is read
when Prometheus asks. Knows nothing of HTTP.
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
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from anytime_server.engine import Engine
from anytime_server.reasoning import Cause, Forcing
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.session import Session

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
TOKEN_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
TOKENS = (0, *(2**power for power in range(3, 17)))


def outcome_of(session: Session) -> Literal["answered", "failed", "abandoned"]:
    """How a session ended, in a word."""
    if session.done is not None:
        return "answered"
    return "abandoned" if session.error is None else "failed"


class Metrics:
    """Figures of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._time_to_first_token = self._seconds(
            "time_to_first_token", "From a request's arrival to its first sampled token."
        )
        self._cut_to_answer = self._seconds(
            "cut_to_answer", "From the end of the thinking to the first token of the answer."
        )
        self._time_to_answer = self._seconds(
            "time_to_answer", "From a request's arrival to the first token of its answer."
        )
        self._queue = self._seconds("queue", "From a request's arrival to its place in the engine.")
        self._token_seconds = self._seconds(
            "thinking_token", "From one thinking token to the next, on average of an answer.", TOKEN_SECONDS
        )
        self._deadline = self._seconds("deadline", "Deadlines that answers were given to.")
        self._budget_tokens = self._tokens("budget_tokens", "Thinking tokens asked for per answer, at most.")
        self._thinking_tokens = self._tokens("thinking_tokens", "Thinking tokens sampled per answer.")
        self._overrun_tokens = self._counter(
            "budget_overrun_tokens", "Thinking tokens sampled over budgets: stays 0, or there is a fault."
        )
        self._answers = self._counter("answers", "Answers given, by what stopped the thinking.", "cause")
        self._provisional_tokens = self._counter(
            "provisional_tokens", "Tokens sampled as provisional answers, probes for agreement included."
        )
        self._leaked_tokens = self._counter(
            "leaked_tokens", "Tokens of answers that were thinking, and were not shown."
        )
        self._leaked_answers = self._counter(
            "leaked_answers",
            "Sessions in whose answers there was thinking, by how the answer was got.",
            "forcing",
        )
        self._tool_parser_failures = self._counter(
            "tool_parser_failures", "Failures of the tool parser on an answer, whose calls are then text."
        )
        self._deadlines_missed = self._counter(
            "deadlines_missed", "Answers whose last token came after the deadline."
        )
        self._errors = self._counter(
            "session_errors", "Sessions that ended in an error, by its code.", "code"
        )
        self._abandoned = self._counter("sessions_abandoned", "Sessions whose client went away.")
        self._sessions = self._counter(
            "sessions", "Sessions that ended, by API key and how.", "key", "outcome"
        )
        self._all_tokens = self._counter(
            "tokens", "Tokens by API key and what they were; `cached` are those of prompts.", "key", "kind"
        )
        self._responses = self._counter(
            "http_responses", "HTTP responses, by the path's template and status.", "path", "status"
        )
        self._http_errors = self._counter(
            "http_errors",
            "HTTP responses with a status of 400 or above, by API key, status and the error's code.",
            "key",
            "status",
            "code",
        )
        for cause in Cause:  # what is there from the start can be told from what is not counted
            self._answers.labels(cause.value)
        for forcing in Forcing:
            self._leaked_answers.labels(forcing.value)
        ProcessCollector(namespace="anytime", registry=self.registry)

    @classmethod
    def of(cls, scheduler: Scheduler) -> Metrics:
        """Metrics of a scheduler's sessions, from now on."""
        metrics = cls()
        scheduler.active.observers.append(metrics.observe)
        active = scheduler.active
        metrics.gauge(
            "sessions_running", "Sessions that think or answer.", lambda: len(active) - active.num_waiting
        )
        metrics.gauge("sessions_waiting", "Sessions that wait for a slot.", lambda: active.num_waiting)
        metrics.gauge(
            "engine_requests",
            "Requests under way in the engine.",
            lambda: scheduler.engine.load().num_requests,
        )
        return metrics

    def _seconds(self, name: str, documentation: str, buckets: Iterable[float] = SECONDS) -> Histogram:
        return Histogram(
            f"anytime_{name}_seconds", documentation, buckets=tuple(buckets), registry=self.registry
        )

    def _tokens(self, name: str, documentation: str) -> Histogram:
        return Histogram(f"anytime_{name}", documentation, buckets=TOKENS, registry=self.registry)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"anytime_{name}", documentation, labels, registry=self.registry)

    def gauge(self, name: str, documentation: str, value: Callable[[], float]) -> None:
        """Show a figure that is read when asked for."""
        Gauge(f"anytime_{name}", documentation, registry=self.registry).set_function(value)

    def describe(self, **facts: str) -> None:
        """Show what does not change: `anytime_build_info`."""
        documentation = "What is served, on what; always 1."
        Gauge("anytime_build_info", documentation, facts, registry=self.registry).labels(**facts).set(1)

    def watch(self, engine: Engine) -> None:
        """Show how the engine is."""
        self.registry.register(_EngineCollector(engine))

    def observe(self, session: Session) -> None:
        """Take in a session that has ended."""
        key, timeline = session.request.context.client, session.timeline
        self._tool_parser_failures.inc(session.tool_parser_failures)
        self._sessions.labels(key, outcome_of(session)).inc()
        if timeline.room_at is not None:
            self._queue.observe(timeline.room_at - timeline.arrived_at)
        if session.error is not None:
            self._errors.labels(session.error.code).inc()
        if session.done is None:
            self._all_tokens.labels(key, "thinking").inc(session.thinking_tokens)
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
        if stop.thinking_tokens > 1 and timeline.cut_at is not None and timeline.first_token_at is not None:
            thought_s = max(0.0, timeline.cut_at - timeline.first_token_at)
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
        """Take in a response.

        Args:
            path: with names in place of what differs from request to request.
            code: of the error that it tells.
        """
        self._responses.labels(path, str(status)).inc()
        if status >= 400:
            self._http_errors.labels(key, str(status), code).inc()

    def exposition(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)


class _EngineCollector(Collector):
    """What an engine tells of itself."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterable[Metric]:
        engine = self._engine
        yield GaugeMetricFamily(
            "anytime_engine_up", "1 where the engine takes requests, else 0.", value=engine.alive
        )
        yield GaugeMetricFamily(
            "anytime_engine_places",
            "Requests that may think at the same time.",
            value=engine.load().max_num_seqs,
        )
        if engine.kv_cache_use is not None:
            yield GaugeMetricFamily(
                "anytime_engine_kv_cache_ratio",
                "Share of the engine's KV cache that requests under way have.",
                value=engine.kv_cache_use,
            )
        yield CounterMetricFamily(
            "anytime_engine_restarts",
            "Times that the engine died and was built anew.",
            value=engine.num_restarts,
        )
