"""`anytime serve`: loads a model and serves it until a signal arrives.

Modules that are slow to import are imported after the options are checked.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from anytime_server import __version__
from anytime_server.auth import Keyring
from anytime_server.engine.environment import preload_allocator, prepare_environment
from anytime_server.errors import AnytimeError, UnusableOption
from anytime_server.printable import escaped, print_error
from anytime_server.server.listen import listen, raise_file_limit, url_of
from anytime_server.server.output import print_line
from anytime_server.server.settings import ServeSettings, load_settings
from anytime_server.server.temporary import own_temporary_folder
from anytime_server.server.tls import Tls

if TYPE_CHECKING:
    import uvicorn

    from anytime_server.scheduler.scheduler import Scheduler
    from anytime_server.telemetry.metrics import Metrics
    from anytime_server.text.model import Model

EXIT_S = 45
"""Seconds for the engine and the HTTP server to end after clients have been disconnected."""


def main(argv: Sequence[str]) -> int:
    """Run the command. Returns the exit status."""
    try:
        settings = load_settings(argv)
        _prepare_process(settings)
        with own_temporary_folder():
            _serve(settings)
    except AnytimeError as error:
        print_error("serve", error)
        return 2 if isinstance(error, UnusableOption) else 1
    return 0


def _prepare_process(settings: ServeSettings) -> None:
    """Handle signals, and set what engines read from the environment; may start this process again."""
    # SIGTERM is no failure: neither while the model loads, nor when uvicorn raises it again after a shutdown.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    reloads = settings.keys is not None or settings.tls_cert is not None
    stop = signal.SIG_IGN if reloads else lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    signal.signal(signal.SIGHUP, stop)
    if settings.log_content and settings.log_level not in ("debug", "info"):
        raise UnusableOption("--log-content: needs --log-level info, at which sessions are logged")
    raise_file_limit()
    if settings.engine == "vllm":
        prepare_environment()
    if settings.engine != "scripted":
        preload_allocator()


def _serve(settings: ServeSettings) -> None:
    """Serve until a signal arrives.

    Raises:
        AnytimeError: an option is unusable, or the model cannot be loaded.
    """
    keyring = None if settings.keys is None else Keyring.of(settings.keys)
    tls = _tls(settings)
    listener = listen(
        settings.host,
        settings.port,
        allow_remote=keyring is not None or settings.allow_anonymous,
        client_stall_s=settings.client_stall_s,
    )
    print_line(f"Loading {escaped(settings.model or 'the bundled model')} ...")

    from anytime_server.server.shutdown import GracefulServer
    from anytime_server.telemetry import logs, setup

    logs.set_up(format=settings.log_format, level=settings.log_level)
    scheduler = _create_scheduler(settings)
    metrics = setup.observe(
        scheduler,
        engine=settings.engine,
        log_content=settings.log_content,
        with_vllm_names=settings.vllm_metric_names,
    )
    tracer = setup.trace(scheduler, endpoint=settings.otlp_endpoint)

    def on_started(error: BaseException | None) -> None:
        if error is None:
            print_line(
                _greeting(scheduler.model, url_of(listener, scheme="https" if tls else "http"), settings)
            )
        else:
            server.fail(error)

    config = _http_config(
        settings, scheduler, metrics=metrics, keyring=keyring, tls=tls, on_started=on_started
    )
    server = GracefulServer(config, scheduler, drain_s=settings.drain_s, exit_s=EXIT_S)
    _reload_at_sighup(keyring, tls)
    try:
        server.run(sockets=[listener])
    finally:
        if tracer is not None:
            tracer.stop()
    if server.failure is not None:
        raise server.failure


def _reload_at_sighup(keyring: Keyring | None, tls: Tls | None) -> None:
    """Read the key file and the certificate again at SIGHUP. Without either, SIGHUP still ends the server."""
    reloads = [] if tls is None else [tls.reload]
    if keyring is not None and keyring.has_file:
        reloads.append(keyring.invalidate)

    def reload_all(*_: object) -> None:
        for reload in reloads:
            reload()

    if reloads:
        signal.signal(signal.SIGHUP, reload_all)


def _create_scheduler(settings: ServeSettings) -> Scheduler:
    """The scheduler of the chosen model and engine, not started."""
    from anytime_server.scheduler.scheduler import Scheduler
    from anytime_server.server.engine import create_engine
    from anytime_server.server.limits import operator_limits
    from anytime_server.server.model import find_adapters, load_model
    from anytime_server.session.continuation import continuation_key

    secret = settings.continuation_key
    signing_key = continuation_key(None if secret is None else secret.get_secret_value())
    model = load_model(settings)
    adapters = find_adapters(settings, model)
    return Scheduler(
        model,
        create_engine(settings, model, adapters=adapters),
        measure_speed=settings.engine != "scripted",  # at 20 tokens per second that takes 15 s
        sheds_load=settings.shed == "budget",
        stops_loops=settings.stop_loops,
        continuation_key=signing_key,
        tool_parser=settings.tool_parser,
        max_waiting=settings.max_waiting,
        shares_prefixes=settings.share_prefix_cache,
        warm_up_s=settings.engine_start_s,
        adapters=tuple(adapters),
        limits=operator_limits(settings, [model.name, *adapters]),
    )


def _http_config(
    settings: ServeSettings,
    scheduler: Scheduler,
    *,
    metrics: Metrics,
    keyring: Keyring | None,
    tls: Tls | None,
    on_started: Callable[[BaseException | None], None],
) -> uvicorn.Config:
    """The application and the HTTP server's configuration."""
    import uvicorn

    from anytime_server.api.app import create_app
    from anytime_server.server.connection_limits import ConnectionLimits

    app = create_app(
        scheduler,
        metrics=metrics,
        keyring=keyring,
        metrics_are_open=settings.open_metrics,
        trusted_hosts_only=keyring is None and not settings.allow_anonymous,
        cors_origins=settings.cors_origins,
        max_header_bytes=settings.max_header_bytes,
        max_body_bytes=settings.max_body_bytes,
        max_messages=settings.max_messages,
        max_stored_responses=settings.max_stored_responses,
        max_stored_bytes=settings.max_stored_bytes,
        is_strict=settings.strict,
        reasoning_field=settings.reasoning_field,
        on_started=on_started,
    )
    limits = ConnectionLimits(
        max_connections=settings.max_connections,
        max_connections_per_address=settings.max_connections_per_address,
        receive_timeout_s=settings.receive_timeout_s,
        max_head_bytes=2 * settings.max_header_bytes,
        registry=metrics.registry,
        tls=None if tls is None else tls.context,
    )
    return uvicorn.Config(
        app,
        http=limits.protocol,  # pyright: ignore[reportArgumentType]
        log_level="warning",
        access_log=False,
        log_config=None,
        ws="none",
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,  # pyright: ignore[reportArgumentType]
        proxy_headers=bool(settings.forwarded_allow_ips),
        forwarded_allow_ips=list(settings.forwarded_allow_ips),
    )


def _tls(settings: ServeSettings) -> Tls | None:
    """
    Raises:
        UnusableOption: a file cannot be used, or an option lacks the certificate.
    """
    password = settings.tls_key_password
    others = {
        "tls-key": settings.tls_key,
        "tls-key-password": password,
        "tls-client-ca": settings.tls_client_ca,
    }
    if settings.tls_cert is None:
        if lonely := [name for name, value in others.items() if value is not None]:
            raise UnusableOption(f"--{lonely[0]}: needs --tls-cert")
        return None
    return Tls(
        cert=settings.tls_cert,
        key=settings.tls_key,
        password=None if password is None else password.get_secret_value(),
        client_ca=settings.tls_client_ca,
    )


def _greeting(model: Model, url: str, settings: ServeSettings) -> str:
    """The line that announces the server, and a command to try."""
    question = (model.manifest.examples or ["What is 2 + 2?"])[0]
    body = json.dumps({"messages": [{"role": "user", "content": question}], "budget": 32})
    key = "" if settings.keys is None else ' -H "Authorization: Bearer $ANYTIME_API_KEY"'
    return (
        f"Anytime {__version__} serves {escaped(model.name)} on {url} ({settings.engine}). Try:\n\n"
        f"  curl -N {url}/v1/anytime -H 'Content-Type: application/json'{key} \\\n"
        f"    -d {shlex.quote(body)}\n"
    )
