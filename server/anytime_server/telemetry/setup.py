"""Attaches metrics, the session log and traces to a scheduler."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from anytime_server.errors import UnusableOption
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.telemetry.logs import SessionLog
from anytime_server.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from anytime_server.telemetry.tracing import Tracer

OTLP_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""OpenTelemetry's environment variables, read by its exporter."""


def observe(
    scheduler: Scheduler, *, engine: str, log_content: bool = False, with_vllm_names: bool = False
) -> Metrics:
    """Log and count sessions as they end.

    Args:
        engine: name of the kind of engine.
        log_content: also log prompts and answers.
        with_vllm_names: also expose metrics under the names of vLLM's own server.
    """
    scheduler.active.observers.append(SessionLog(scheduler.model, with_content=log_content))
    return Metrics.of(scheduler, engine=engine, with_vllm_names=with_vllm_names)


def trace(scheduler: Scheduler, *, endpoint: str | None) -> Tracer | None:
    """Send a trace of each session as it ends, if an endpoint is given here or in the environment.

    Raises:
        UnusableOption: OpenTelemetry is not installed.
    """
    if endpoint is None and not any(map(os.environ.get, OTLP_VARIABLES)):
        return None
    try:
        from anytime_server.telemetry.tracing import Tracer
    except ModuleNotFoundError as error:
        raise UnusableOption(
            f"--otlp-endpoint: {error.name} is not installed: pip install 'anytime-reasoner[otel]'"
        ) from error
    tracer = Tracer(endpoint, model=scheduler.model.name)
    scheduler.active.observers.append(tracer)
    return tracer
