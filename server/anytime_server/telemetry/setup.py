"""Who looks on while a service serves: metrics of its engine, its log and its traces."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from anytime_server import __version__
from anytime_server.errors import UnusableOption
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.telemetry.logs import SessionLog
from anytime_server.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from anytime_server.telemetry.tracing import Tracer

OTLP_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""OpenTelemetry's own, which its exporter reads."""


def observe(service: Scheduler, *, engine: str, log_content: bool = False) -> Metrics:
    """Show in the metrics what is served and how the engine is, and log sessions as they end."""
    metrics = Metrics.of(service)
    metrics.describe(version=__version__, engine=engine, model=service.model.name)
    metrics.gauge("ready", "1 where requests are taken, else 0.", lambda: service.not_ready_because is None)
    metrics.watch(service.engine)
    service.active.observers.append(SessionLog(service.model, with_content=log_content))
    return metrics


def trace(service: Scheduler, *, endpoint: str | None) -> Tracer | None:
    """Send a trace of each session as it ends, if an endpoint is given here or in the environment.

    Raises:
        UnusableOption: what it takes is not installed.
    """
    if endpoint is None and not any(map(os.environ.get, OTLP_VARIABLES)):
        return None
    try:
        from anytime_server.telemetry.tracing import Tracer
    except ModuleNotFoundError as error:
        raise UnusableOption(
            f"--otlp-endpoint: {error.name} is not installed: pip install 'anytime-reasoner[otel]'"
        ) from error
    tracer = Tracer(endpoint, model=service.model.name)
    service.active.observers.append(tracer)
    return tracer
