"""`anytime serve`: a model, an engine and the application, on a port."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING

from anytime_server import __version__
from anytime_server.auth import Keyring
from anytime_server.engine.environment import preload_allocator, prepare_environment
from anytime_server.errors import AnytimeError, UnusableModel, UnusableOption
from anytime_server.server.console import tell
from anytime_server.server.settings import ServeSettings, load_settings

if TYPE_CHECKING:
    from anytime_server.engine import Engine
    from anytime_server.text.model import Model

KEEP_ALIVE_S = 30
"""How long an idle connection is kept: longer than by clients, or one is used just as it closes."""


def main(argv: Sequence[str]) -> int:
    """Serve until told to stop. Returns the exit status."""
    try:
        settings = load_settings(argv)
        return _serve(settings)
    except AnytimeError as error:
        print(f"anytime serve: {error}", file=sys.stderr)
        return 2 if isinstance(error, UnusableOption) else 1


def _serve(settings: ServeSettings) -> int:
    # Being told to stop is no failure, neither while the model is fetched nor when uvicorn, having shut down,
    # raises the signal that told it to.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    if settings.log_content and settings.log_level not in ("debug", "info"):
        raise UnusableOption("--log-content: takes --log-level info, at which sessions are logged")
    if settings.engine == "vllm":
        prepare_environment()
    if settings.engine != "scripted":
        preload_allocator()
    keyring = None if settings.keys is None else Keyring.of(settings.keys)
    others_may_come = keyring is not None or settings.allow_anonymous
    listener = _listen(settings.host, settings.port, others_may_come=others_may_come)
    # The kernel hangs up, then; its connections inherit this.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(settings.client_stall_s * 1000))
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    tell(f"Loading {settings.model or 'the bundled model'} ...")

    import uvicorn

    from anytime_server.api.app import create_app
    from anytime_server.engine.checkpoint import require_whole
    from anytime_server.scheduler.scheduler import Scheduler
    from anytime_server.server.connection import Connection
    from anytime_server.server.shutdown import DrainingServer
    from anytime_server.session.continuation import continuation_key
    from anytime_server.telemetry import logs, setup
    from anytime_server.text.model import BUNDLED_MODEL, Model

    logs.set_up(form=settings.log_format, level=settings.log_level)
    key = settings.continuation_key
    signing_key = continuation_key(None if key is None else key.get_secret_value())
    folder, name = BUNDLED_MODEL, settings.name
    if settings.model is not None:
        folder = _find_model(settings.model)
        if folder != Path(settings.model).expanduser():
            name = name or settings.model  # of the hub; its folder is named by a hash
    require_whole(folder)
    model = Model.load(folder, name=name, preset=settings.reasoning_preset)
    failures: list[BaseException] = []

    def on_started(error: BaseException | None) -> None:
        if error is not None:
            failures.append(error)
            server.give_up()
            return
        tell(_greeting(model, url, settings.engine, has_keys=keyring is not None))

    service = Scheduler(
        model,
        _engine(settings, model),
        sheds_load=settings.shed == "budget",
        continuation_key=signing_key,
        tool_parser=settings.tool_parser,
        max_waiting=settings.max_waiting,
    )
    metrics = setup.observe(service, engine=settings.engine, log_content=settings.log_content)
    tracer = setup.trace(service, endpoint=settings.otlp_endpoint)
    app = create_app(
        service,
        metrics=metrics,
        keyring=keyring,
        for_own_machine=not others_may_come,
        cors_origins=settings.cors_origins,
        max_header_bytes=settings.max_header_bytes,
        max_body_bytes=settings.max_body_bytes,
        max_messages=settings.max_messages,
        on_started=on_started,
    )
    config = uvicorn.Config(
        app,
        http=Connection,
        log_level="warning",
        access_log=False,
        log_config=None,
        ws="none",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    server = DrainingServer(config, service, drain_s=settings.drain_s)
    if keyring is not None and keyring.has_file:
        signal.signal(signal.SIGHUP, lambda *_: keyring.expire())
    try:
        server.run(sockets=[listener])
    finally:
        if tracer is not None:
            tracer.stop()
    if failures:
        raise failures[0]
    return 0


def _listen(host: str, port: int, *, others_may_come: bool = True) -> socket.socket:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise UnusableOption(f"--host: {host!r} is no address of this machine") from error
    family, _, _, _, address = min(found, key=lambda one: one[0] != AF_INET)
    if not others_may_come and not ip_address(address[0]).is_loopback:
        raise UnusableOption(
            f"--host: others reach {host or 'all addresses of this machine'}, and there are no API keys: "
            "give --keys, or --allow-anonymous if whoever comes may ask"
        )
    try:
        listener = socket.create_server(address, family=family, backlog=2048)
    except OSError as error:
        option = "host" if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) else "port"
        why = os.strerror(error.errno) if error.errno else str(error)
        raise UnusableOption(f"--{option}: cannot listen on {host}, port {port}: {why}") from error
    own_port = listener.getsockname()[1]
    os.register_at_fork(after_in_child=lambda: _close_inherited_sockets(own_port))
    return listener


def _close_inherited_sockets(port: int) -> None:
    """In a forked engine: let go of the port and of its connections, which are to end with the server's.

    By their numbers, since the event loop keeps the socket object from closing.
    """
    for name in os.listdir("/proc/self/fd"):
        try:
            inherited = socket.socket(fileno=int(name))
        except OSError:
            continue  # no socket
        is_of_the_server = inherited.family in (AF_INET, AF_INET6) and inherited.getsockname()[1] == port
        inherited.close() if is_of_the_server else inherited.detach()


def _find_model(name: str) -> Path:
    if (folder := Path(name).expanduser()).is_dir():
        return folder
    if name.startswith(("/", ".", "~")):
        raise UnusableModel(f"there is no folder {name}")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name))
    except Exception as error:
        raise UnusableModel(
            f"{name!r} is neither a folder nor a model that the Hugging Face hub gives: "
            f"{(str(error).strip() or type(error).__name__).splitlines()[0]}"
        ) from error


def _engine(settings: ServeSettings, model: Model) -> Engine:
    from anytime_server.engine.supervised import SupervisedEngine

    return SupervisedEngine(
        _engine_builder(settings, model),
        stall_s=settings.engine_stall_s,
        restart_wait_s=settings.engine_restart_wait_s,
    )


def _engine_builder(settings: ServeSettings, model: Model) -> Callable[[], Engine]:
    if settings.engine == "scripted":
        from anytime_server.engine.scripted import ScriptedEngine

        whole = settings.scripted.model_copy(update={"die_after_tokens": None})
        scripts = itertools.chain([settings.scripted], itertools.repeat(whole))  # it dies once
        return lambda: ScriptedEngine(model.tokenizer, model.reasoning, script=next(scripts))
    if settings.engine == "transformers":
        from anytime_server.engine.transformers import TransformersEngine

        return lambda: TransformersEngine(model.folder, options=settings.transformers)
    from anytime_server.engine.vllm import VllmEngine

    return lambda: VllmEngine(model.folder, options=settings.vllm)


def _greeting(model: Model, url: str, engine: str, *, has_keys: bool) -> str:
    question = (model.manifest.examples or ["What is 2 + 2?"])[0]
    body = json.dumps({"messages": [{"role": "user", "content": question}], "budget": 32})
    key = ' -H "Authorization: Bearer $ANYTIME_API_KEY"' if has_keys else ""
    return (
        f"Anytime {__version__} serves {model.name} on {url} ({engine}). Try:\n\n"
        f"  curl -N {url}/v1/anytime -H 'Content-Type: application/json'{key} \\\n"
        f"    -d {shlex.quote(body)}\n"
    )
