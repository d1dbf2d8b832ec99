"""A server on a scripted engine, with two API keys and a chat template that fails on demand."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
from anytime_server.text.model import BUNDLED_MODEL

from ..servers import RealServer, start

JSON = {"content-type": "application/json", "authorization": "Bearer free"}
TIGHT = JSON | {"authorization": "Bearer tight"}
TIGHT_REQUESTS = 3
"""A minute, for the key `tight`."""
HEALTH_S = 2.0
"""In which /health answers during an attack, on a busy machine."""
MAX_REFUSAL_BYTES = 2000
TRAPS = {
    "divide by zero": "{{ 1 // 0 }}",
    "look in vain": "{{ 'x'.index('y') }}",
    "recurse": "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
    "count far": "{% for i in range(10 ** 9) %}{% endfor %}",
}
"""Pieces of a chat template that fail, by the message that they are for."""


@dataclass(kw_only=True)
class Watch:
    """Observations of a server during an attack."""

    slowest_health_s: float = 0.0
    rss_growth_mib: float = 0.0


def copy_of_the_model(folder: Path, **files: str | bytes) -> Path:
    """The bundled model with some of its files replaced; `__` in a name is a dot."""
    shutil.copytree(BUNDLED_MODEL, folder)
    for name, content in files.items():
        raw = content.encode() if isinstance(content, str) else content
        (folder / name.replace("__", ".")).write_bytes(raw)
    return folder


def start_guarded(folder: Path, *options: str) -> RealServer:
    """Start the server in a folder for its files."""
    traps = "".join(
        f"{{% if messages[-1].content == {message!r} %}}{trap}{{% endif %}}"
        for message, trap in TRAPS.items()
    )
    template = (BUNDLED_MODEL / "chat_template.jinja").read_text() + traps
    model = copy_of_the_model(folder / "model", chat_template__jinja=template)
    keys = folder / "keys.toml"
    keys.touch(mode=0o600)
    keys.write_text(_key("free") + _key("tight") + f"requests_per_minute = {TIGHT_REQUESTS}\n")
    return start(["--engine", "scripted", "--model", str(model), "--keys", str(keys), *options])


def _key(name: str) -> str:
    return f'[[keys]]\nname = "{name}"\nsha256 = "{hashlib.sha256(name.encode()).hexdigest()}"\n'


@asynccontextmanager
async def watched(server: RealServer) -> AsyncGenerator[Watch, None]:
    """Ask for /health all the time, and compare the memory before and after."""
    watch, process = Watch(), psutil.Process(server.process.pid)
    before = process.memory_info().rss
    watching = asyncio.create_task(_poll(server, watch))
    try:
        yield watch
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        watch.rss_growth_mib = (process.memory_info().rss - before) / 2**20


async def _poll(server: RealServer, watch: Watch) -> None:
    async with server.client() as http:
        while True:
            began_at = time.monotonic()
            try:
                assert (await http.get("/health")).status_code == 200
            finally:  # also of an answer that did not come in time
                watch.slowest_health_s = max(watch.slowest_health_s, time.monotonic() - began_at)
            await asyncio.sleep(0.02)


def body_of(path: str, **fields: Any) -> dict[str, Any]:
    """A short valid request of a dialect, with some fields replaced."""
    question = [{"role": "user", "content": "7-3"}]
    common: dict[str, Any] = {} if path == "/v1/anytime" else {"model": "anytime-demo"}
    common |= {"max_tokens": 32} if path == "/v1/messages" else {}
    return {"input" if path == "/v1/responses" else "messages": question} | common | fields


def message_of(response: httpx2.Response) -> str:
    """The message of an error, which is short, and one line without a stack trace."""
    assert len(response.content) < MAX_REFUSAL_BYTES
    message: str = json.loads(response.content)["error"]["message"]
    assert "\n" not in message
    assert "Traceback" not in message
    return message
