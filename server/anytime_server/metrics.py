"""What Prometheus sees. Every name begins with `anytime_`."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from anytime_server.session import Session

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
TOKENS = (0, *(2**power for power in range(3, 17)))


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
        self._thinking_tokens = Histogram(
            "anytime_thinking_tokens",
            "Thinking tokens sampled per answer.",
            buckets=TOKENS,
            registry=self.registry,
        )
        self._answers = Counter(
            "anytime_answers",
            "Answers given, by what stopped the thinking.",
            ["cause"],
            registry=self.registry,
        )
        self._provisional_tokens = Counter(
            "anytime_provisional_tokens",
            "Tokens sampled as provisional answers, probes for agreement included.",
            registry=self.registry,
        )
        self._leaked_tokens = Counter(
            "anytime_leaked_tokens",
            "Tokens of answers that were thinking, and were not shown.",
            registry=self.registry,
        )
        self._leaked_answers = Counter(
            "anytime_leaked_answers",
            "Sessions in whose answers there was thinking, by how the answer was got.",
            ["forcing"],
            registry=self.registry,
        )
        self._deadlines_missed = Counter(
            "anytime_deadlines_missed",
            "Answers whose last token came after the deadline.",
            registry=self.registry,
        )
        self._errors = Counter(
            "anytime_session_errors",
            "Sessions that ended in an error, by its code.",
            ["code"],
            registry=self.registry,
        )
        self._abandoned = Counter(
            "anytime_sessions_abandoned", "Sessions whose client went away.", registry=self.registry
        )

    def _seconds(self, name: str, documentation: str) -> Histogram:
        return Histogram(f"anytime_{name}_seconds", documentation, buckets=SECONDS, registry=self.registry)

    def gauge(self, name: str, documentation: str, value: Callable[[], float]) -> None:
        """Show a figure that is read when asked for."""
        Gauge(f"anytime_{name}", documentation, registry=self.registry).set_function(value)

    def observe(self, session: Session) -> None:
        """Take in a session that has ended."""
        if session.error is not None:
            self._errors.labels(session.error.code).inc()
        elif session.done is None:
            self._abandoned.inc()
        else:
            stop, timing = session.done.stop, session.done.timing
            self._time_to_first_token.observe(timing.time_to_first_token_s)
            self._cut_to_answer.observe(timing.cut_to_answer_s)
            self._time_to_answer.observe(timing.time_to_answer_s)
            self._thinking_tokens.observe(stop.thinking_tokens)
            self._answers.labels(stop.cause.value).inc()
            self._provisional_tokens.inc(session.done.usage.provisional_tokens)
            if session.leaked_tokens:
                self._leaked_tokens.inc(session.leaked_tokens)
                self._leaked_answers.labels(session.request.answer.forcing.value).inc()
            deadline_s = session.request.budget.deadline_s
            if deadline_s is not None and timing.total_s > deadline_s:
                self._deadlines_missed.inc()

    def exposition(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)
