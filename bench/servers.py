"""Servers whose cost is measured: Anytime's and vLLM's own, each with the processes that it is made of."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
from anytime_server.engine.environment import ON_CPU, QUIET, cpu_multiplies_bf16, gpu_is_there
from serving import serving

START_S = 180
SERVED_NAME = "model"
"""Of the model, by vLLM's server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running one."""

    url: str
    process: psutil.Process

    def _tree(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def cpu_s(self) -> float:
        """Processor time of all its processes so far."""
        times = [process.cpu_times() for process in self._tree()]
        return sum(one.user + one.system for one in times)

    def rss_mib(self) -> float:
        """Memory that all its processes have resident; what they share counts once for each."""
        return sum(process.memory_info().rss for process in self._tree()) / 2**20


@contextmanager
def anytime_serving(*arguments: str) -> Iterator[Server]:
    """`anytime serve` with these arguments."""
    before = {process.pid for process in psutil.Process().children()}
    with serving(*arguments) as url:
        (process,) = [process for process in psutil.Process().children() if process.pid not in before]
        yield Server(url=url, process=process)


@contextmanager
def vllm_serving(model: Path, *arguments: str, max_num_seqs: int, kv_cache_mib: int) -> Iterator[Server]:
    """vLLM's own OpenAI server, with the options and environment that `anytime serve` gives its engine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(model), "--served-model-name", SERVED_NAME, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--max-num-seqs", str(max_num_seqs), "--enable-prefix-caching"]
    command += ["--no-enable-log-requests", "--disable-log-stats", "--uvicorn-log-level", "error"]
    if not gpu_is_there():
        command += ["--enforce-eager", "--no-enable-chunked-prefill", "--block-size", "32"]
        command += ["--kv-cache-memory-bytes", str(kv_cache_mib << 20)]
        if not cpu_multiplies_bf16():
            command += [
                "--dtype",
                "float32",
            ]  # as `anytime serve` chooses by itself
    with subprocess.Popen([*command, *arguments], env=_environment()) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, server)
            yield Server(url=url, process=psutil.Process(server.pid))
        finally:
            server.terminate()


def _environment() -> dict[str, str]:
    """What `anytime serve` sets for itself."""
    libraries = sorted(Path("/usr/lib").glob("*/libtcmalloc_minimal.so.4"))
    on_cpu = ON_CPU | ({"LD_PRELOAD": str(libraries[0])} if libraries else {})
    return QUIET | ({} if gpu_is_there() else on_cpu) | {"HF_HUB_OFFLINE": "1"} | os.environ


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and server.poll() is None:
        try:
            if httpx2.get(f"{url}/health").is_success:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.5)
    sys.exit("vLLM's server did not start")
