"""Servers under measurement: `anytime serve` and vLLM's own server, each with all its processes."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
from anytime_server.engine.environment import ON_CPU, QUIET, cpu_multiplies_bf16, vllm_is_for_cpu

ANYTIME = Path(sys.executable).with_name("anytime")
VLLM_START_S = 180
MODEL_NAME = "model"
"""Name of the served model, at both servers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server."""

    url: str
    process: psutil.Process

    def cpu_s(self) -> float:
        """Processor seconds that all processes of the server have used."""
        times = [process.cpu_times() for process in self._processes()]
        return sum(one.user + one.system for one in times)

    def rss_mib(self) -> float:
        """Resident memory of all processes of the server; shared memory counts once per process."""
        return sum(process.memory_info().rss for process in self._processes()) / 2**20

    def card(self) -> dict[str, Any]:
        """The served model, as `/v1/models` describes it."""
        return httpx2.get(f"{self.url}/v1/models").raise_for_status().json()["data"][0]

    def examples(self) -> list[str]:
        """Prompts that the served model is good at; only of `anytime serve`."""
        return self.card()["anytime"]["examples"]

    def _processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


@contextmanager
def anytime_server(*options: str) -> Iterator[Server]:
    """Run `anytime serve` with these options on a free port, until the block ends."""
    command = [str(ANYTIME), "serve", "--port", "0", "--name", MODEL_NAME, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Server(url=_printed_url(process), process=psutil.Process(process.pid))
        finally:
            process.terminate()


def _printed_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"serves .* on (http://\S+)", line):
            return found[1]
    sys.exit("the server did not start")


@contextmanager
def vllm_server(model: Path, *options: str, max_num_seqs: int, kv_cache_mib: int) -> Iterator[Server]:
    """Run vLLM's OpenAI server, with the engine options and environment of `anytime serve`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(model), "--served-model-name", MODEL_NAME, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--max-num-seqs", str(max_num_seqs), "--enable-prefix-caching"]
    command += ["--no-enable-log-requests", "--disable-log-stats", "--uvicorn-log-level", "error"]
    if vllm_is_for_cpu():
        command += ["--enforce-eager", "--no-enable-chunked-prefill", "--block-size", "32"]
        command += ["--kv-cache-memory-bytes", str(kv_cache_mib << 20)]
        if not cpu_multiplies_bf16():
            command += ["--dtype", "float32"]
    with subprocess.Popen([*command, *options], env=_vllm_environment()) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, process)
            yield Server(url=url, process=psutil.Process(process.pid))
        finally:
            process.terminate()


def _vllm_environment() -> dict[str, str]:
    """The variables that `anytime serve` sets for its own engine, and its allocator."""
    libraries = sorted(Path("/usr/lib").glob("*/libtcmalloc_minimal.so.4"))
    on_cpu = ON_CPU | ({"LD_PRELOAD": str(libraries[0])} if libraries else {})
    return QUIET | (on_cpu if vllm_is_for_cpu() else {}) | {"HF_HUB_OFFLINE": "1"} | os.environ


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + VLLM_START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx2.get(f"{url}/health").is_success:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.5)
    sys.exit("vLLM's server did not start")
