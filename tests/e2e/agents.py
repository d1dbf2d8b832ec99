"""Runs the command lines of coding agents in a sandbox of folders, against a server in this process."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from anytime_server.api.app import create_app
from anytime_server.engine import EngineRequest
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.text.model import Model

from ..families.engines import PlayedModel, record_requests
from ..server.api.conftest import QuickServer

PROGRAMS = Path(__file__).parents[2] / "build/agents/node_modules/.bin"
RUN_S = 120
NOWHERE = "http://127.0.0.1:9"
"""A proxy that takes no connections: programs reach nothing but this machine."""


def is_installed(program: str) -> bool:
    return (PROGRAMS / program).exists() and shutil.which("node") is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A server whose model gives scripted answers, one after another."""

    url: str
    model: Model
    requests: list[EngineRequest]
    """All that the engine got."""

    @property
    def prompts(self) -> list[str]:
        """The prompt of each answer, thinking included."""
        decode = self.model.tokenizer.decode
        return [decode(request.prompt_ids) for request in self.requests if "-answer-" in request.id]


@asynccontextmanager
async def played(model: Model, answers: Sequence[str]) -> AsyncGenerator[Played, None]:
    """Serve a model that gives these answers, each after some thinking."""
    script = {"thinking_tokens": 12, "answer": "There is nothing more to do."}
    engine = PlayedModel(model, script, answers=answers, window_tokens=131_072)
    requests = record_requests(engine)
    scheduler = Scheduler(model, engine, measure_speed=False)
    config = uvicorn.Config(create_app(scheduler), log_level="warning", lifespan="on", ws="none")
    server = QuickServer(config)
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started or scheduler.not_ready_because is not None:
        await asyncio.sleep(0.01)
    yield Played(url=f"http://127.0.0.1:{listener.getsockname()[1]}", model=model, requests=requests)
    server.stop()
    await task


async def run(
    program: str, *arguments: str, folder: Path, **environment: str
) -> tuple[str, list[dict[str, Any]]]:
    """Run a program within `folder/project`, with `folder` as its home.

    Returns:
        Its output, and the lines of it that are JSON.
    """
    project = folder / "project"
    project.mkdir(parents=True, exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        PROGRAMS / program,
        *arguments,
        cwd=project,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "HTTP_PROXY": NOWHERE,
            "HTTPS_PROXY": NOWHERE,
            "NO_PROXY": "127.0.0.1",
            **environment,
        },
    )
    try:
        async with asyncio.timeout(RUN_S):
            output = (await process.communicate())[0].decode()
    except TimeoutError:
        process.kill()
        output = (await process.communicate())[0].decode()
        raise AssertionError(f"{program} does not end:\n{output}") from None
    assert process.returncode == 0, output
    return output, [json.loads(line) for line in output.splitlines() if line.startswith("{")]
