"""Checks JSON schemas in a process beside the server, where they may take long, eat memory or crash.

The process starts with the first schema, or before it with `start()`. Nothing here blocks the event loop or
takes one of its threads.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from anytime_server.errors import EngineDead, EngineFailed, InvalidRequest, NotSupported

logger = logging.getLogger(__name__)

LIMIT_S, LIMIT_BYTES = 10.0, 1 << 30
"""Of one schema: processor time, and memory. Over 260,000 ids, usual schemas take 0.1 s and 30 MiB."""
SLOW_S = 0.5
"""Seconds from which the compilation of a schema is logged."""
REPLY_S = 150.0
"""Seconds without a reply after which the process counts as hung: more than its start and a schema take."""
MAX_CHARACTERS = 131_072
"""vLLM reads a schema on the server's event loop for every request."""
MAX_VERDICTS = 512
RESTART_PAUSE_S = 5.0
"""Seconds from the end of a process that is kept running to the next one."""
MAX_REPLY_BYTES = 16 << 20
"""The first reply lists ids."""
ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
PROGRAM = ("-P", "-m", "anytime_server.engine.structured.process")


class SchemaCompiler:
    """Checks whether one checkpoint's tokens can be constrained to a schema. Belongs to one event loop."""

    def __init__(
        self, folder: Path, num_ids: int, *, limit_s: float = LIMIT_S, limit_bytes: int = LIMIT_BYTES
    ) -> None:
        """
        Args:
            folder: checkpoint with a tokenizer.
            num_ids: ids that the model gives logits for.
            limit_s: processor time that one schema may take.
            limit_bytes: memory that one schema may take.
        """
        self._arguments = [str(value) for value in (folder, num_ids, limit_s, limit_bytes, os.getpid())]
        self._process: Process | None = None
        self._lock = asyncio.Lock()
        self._compiling: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._refusals: OrderedDict[bytes, str | None] = OrderedDict()
        """By the digest of each schema, the least lately used first; None where it is accepted."""
        self._fault: str | None = None
        self.end_ids = frozenset[int]()
        """Ids that llguidance lets follow the JSON; none before the first schema was checked."""
        self.compilations = (0, 0.0)
        """Schemas compiled or refused until now, and the seconds that this took."""
        self._is_closed = False

    def start(self) -> None:
        """Start the process before the first schema waits for it, and again whenever it ends."""
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep_running())

    async def check(self, json_schema: str) -> None:
        """Pass if tokens can be held to this schema.

        Raises:
            InvalidRequest: they cannot, to this one.
            NotSupported: nor to any other.
            EngineDead: closed.
            EngineFailed: the process cannot be started.
        """
        if len(json_schema) > MAX_CHARACTERS:
            raise InvalidRequest(f"the JSON schema is longer than {MAX_CHARACTERS} characters")
        if (digest := _digest(json_schema)) not in self._refusals:
            async with self._lock:
                if self._compiling is not None:  # for a client that has gone since
                    await asyncio.wait([self._compiling])
                if digest not in self._refusals:
                    self._compiling = asyncio.create_task(self._compile(json_schema))
                    await asyncio.shield(self._compiling)
        self._refusals.move_to_end(digest)
        if (refusal := self._refusals[digest]) is not None:
            raise InvalidRequest(refusal)

    async def close(self) -> None:
        """End the process; checks that wait for it get EngineDead. May be called more than once."""
        self._is_closed = True
        if self._process is not None:
            _kill(self._process)
        if self._compiling is not None:
            await asyncio.wait([self._compiling])
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        await self._end()

    async def _keep_running(self) -> None:
        while True:
            async with self._lock:
                if self._compiling is not None:
                    await asyncio.wait([self._compiling])
                if self._process is not None and self._process.returncode is not None:
                    await self._end()
                try:
                    process = await self._started()
                except EngineDead:
                    return
                except (EngineFailed, OSError) as error:
                    if not self._is_closed:
                        logger.warning("%s; the next request with a JSON schema tries again", error)
                    return
            await process.wait()
            await asyncio.sleep(RESTART_PAUSE_S)

    async def _compile(self, json_schema: str) -> None:
        for _ in range(2):
            process = await self._started()
            if self._fault is not None:
                raise NotSupported(self._fault)
            started_at = time.monotonic()
            if reply := await _reply(process, json_schema):
                self._record(time.monotonic() - started_at, json_schema)
                self._refusals[_digest(json_schema)] = json.loads(reply)
                if len(self._refusals) > MAX_VERDICTS:
                    self._refusals.popitem(last=False)
                return
            await self._end()  # killed from outside, not by the schema
        raise EngineFailed("the process that compiles JSON schemas keeps ending")

    def _record(self, seconds: float, json_schema: str) -> None:
        num_compiled, compiling_s = self.compilations
        self.compilations = (num_compiled + 1, compiling_s + seconds)
        if seconds > SLOW_S:
            logger.info("compiled a JSON schema of %d characters in %.1f s", len(json_schema), seconds)

    async def _started(self) -> Process:
        if self._is_closed:
            raise EngineDead("the engine is not running")
        if self._process is None:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, *PROGRAM, *self._arguments),
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=DEVNULL,
                    limit=MAX_REPLY_BYTES,
                    env=os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(sys.path)},
                    start_new_session=True,  # Ctrl-C at the terminal is for the server, which then drains
                )
            except OSError as error:  # no memory, or too many processes or files
                reason = f"the process that compiles JSON schemas cannot be started: {error.strerror}"
                raise EngineFailed(reason) from error
            if self._is_closed:  # meanwhile
                _kill(self._process)
            if not (reply := await _reply(self._process)):
                await self._end()
                raise EngineFailed("the process that compiles JSON schemas does not start")
            about = json.loads(reply)
            self._fault = about["fault"]
            self.end_ids = frozenset(about["end_ids"])
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            _kill(process)
            await process.communicate()


def _digest(json_schema: str) -> bytes:
    return hashlib.sha256(json_schema.encode()).digest()


def _kill(process: Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # with its child that compiles


async def _reply(process: Process, json_schema: str | None = None) -> bytes:
    """Its next line, after it was given the schema; empty where it has ended or hangs."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(REPLY_S):
            if json_schema is not None:
                process.stdin.write(json.dumps(json_schema).encode() + b"\n")
                await process.stdin.drain()
            return await process.stdout.readline()
    except (ConnectionError, TimeoutError):
        return b""
