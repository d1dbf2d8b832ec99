"""Compiles constraints, and checks texts, in a process beside the server: both may take long, eat memory or
crash.

The process starts with the first constraint, or before it with `start()`. Nothing here blocks the event loop
or takes one of its threads.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anytime_server.engine.constraint import Constraint, Enforced
from anytime_server.errors import EngineDead, EngineFailed, InvalidRequest, NotSupported

if TYPE_CHECKING:
    from anytime_server.engine.structured.process import Reply

logger = logging.getLogger(__name__)

LIMIT_S, LIMIT_BYTES = 10.0, 1 << 30
"""Of one constraint: processor time, and memory. Over 260,000 ids, usual schemas take 0.1 s and 30 MiB."""
SLOW_S = 0.5
"""Seconds from which a compilation is logged."""
REPLY_S = 150.0
"""Seconds without a reply after which the process counts as hung: more than its start and a constraint
take."""
MAX_CHARACTERS = 131_072
"""vLLM reads a constraint on the server's event loop for every request."""
MAX_VERDICTS = 256
RESTART_PAUSE_S = 5.0
"""Seconds from the end of a process that is kept running to the next one."""
MAX_REPLY_BYTES = 16 << 20
"""The first reply lists ids."""
ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
PROGRAM = ("-P", "-m", "anytime_server.engine.structured.process")


class ConstraintCompiler:
    """Finds the constraints that one checkpoint's tokens can be held to. Belongs to one event loop."""

    def __init__(
        self, folder: Path, num_ids: int, *, limit_s: float = LIMIT_S, limit_bytes: int = LIMIT_BYTES
    ) -> None:
        """
        Args:
            folder: checkpoint with a tokenizer.
            num_ids: ids that the model gives logits for.
            limit_s: processor time that one constraint may take.
            limit_bytes: memory that one constraint may take.
        """
        self._arguments = [str(value) for value in (folder, num_ids, limit_s, limit_bytes, os.getpid())]
        self._process: Process | None = None
        self._lock = asyncio.Lock()
        self._asking: asyncio.Task[Any] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._verdicts: OrderedDict[Constraint, Enforced | str] = OrderedDict()
        """The least lately used first; why it is refused, where it is."""
        self._fault: str | None = None
        self.end_ids = frozenset[int]()
        """Ids that llguidance lets follow the text; none before the first constraint was checked."""
        self.compilations = (0, 0.0)
        """Constraints compiled or refused until now, and the seconds that this took."""
        self._is_closed = False

    def start(self) -> None:
        """Start the process before the first constraint waits for it, and again whenever it ends."""
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep_running())

    async def check(self, constraint: Constraint) -> Enforced:
        """The part of a constraint that tokens can be held to.

        Raises:
            InvalidRequest: the constraint is malformed, too long, too costly or cannot be enforced.
            NotSupported: no constraint can be enforced over this vocabulary.
            EngineDead: closed.
            EngineFailed: the process cannot be started.
        """
        if len(constraint.text) > MAX_CHARACTERS:
            raise InvalidRequest(f"the {constraint.title} is longer than {MAX_CHARACTERS} characters")
        if constraint not in self._verdicts:
            async with self._lock:
                if self._asking is not None:  # for a client that has gone since
                    await asyncio.wait([self._asking])
                if constraint not in self._verdicts:
                    self._asking = asyncio.create_task(self._compile(constraint))
                    await asyncio.shield(self._asking)
        self._verdicts.move_to_end(constraint)
        if isinstance(verdict := self._verdicts[constraint], str):
            raise InvalidRequest(verdict)
        return verdict

    async def violation(self, json_schema: str, text: str) -> str | None:
        """The JSON pointer of a keyword of a JSON schema that a text violates; None if it violates none.

        Raises:
            NotSupported: the text cannot be checked.
            EngineDead: closed.
            EngineFailed: the process cannot be started.
        """
        async with self._lock:
            if self._asking is not None:
                await asyncio.wait([self._asking])
            asking = asyncio.create_task(self._ask("check", json_schema, text))
            self._asking = asking
            reply = await asyncio.shield(asking)
        if "unchecked" in reply:
            raise NotSupported(reply["unchecked"])
        return reply.get("violated")

    async def close(self) -> None:
        """End the process; checks that wait for it get EngineDead. May be called more than once."""
        self._is_closed = True
        if self._process is not None:
            _kill(self._process)
        if self._asking is not None:
            await asyncio.wait([self._asking])
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        await self._end()

    async def _keep_running(self) -> None:
        while True:
            async with self._lock:
                if self._asking is not None:
                    await asyncio.wait([self._asking])
                if self._process is not None and self._process.returncode is not None:
                    await self._end()
                try:
                    process = await self._started()
                except EngineDead:
                    return
                except (EngineFailed, OSError) as error:
                    if not self._is_closed:
                        logger.warning("%s; the next request with a constraint tries again", error)
                    return
            await process.wait()
            await asyncio.sleep(RESTART_PAUSE_S)

    async def _compile(self, constraint: Constraint) -> None:
        started_at = time.monotonic()
        reply = await self._ask(constraint.kind, constraint.text)
        seconds = time.monotonic() - started_at
        num_compiled, compiling_s = self.compilations
        self.compilations = (num_compiled + 1, compiling_s + seconds)
        if seconds > SLOW_S:
            logger.info(
                "compiled a %s of %d characters in %.1f s", constraint.title, len(constraint.text), seconds
            )
        self._verdicts[constraint] = reply.get("refusal") or Enforced(
            constraint=Constraint(constraint.kind, reply.get("text", "")),
            left_out=tuple(reply.get("left_out", ())),
            unknown=tuple(reply.get("unknown", ())),
            is_exact=reply.get("is_exact", True),
        )
        if len(self._verdicts) > MAX_VERDICTS:
            self._verdicts.popitem(last=False)

    async def _ask(self, *arguments: str) -> Reply:
        for _ in range(2):
            process = await self._started()
            if self._fault is not None:
                raise NotSupported(self._fault)
            if reply := await _reply(process, arguments):
                return json.loads(reply)
            await self._end()  # killed from outside, not by what was asked
        raise EngineFailed("the process that compiles constraints keeps ending")

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
                reason = f"the process that compiles constraints cannot be started: {error.strerror}"
                raise EngineFailed(reason) from error
            if self._is_closed:  # meanwhile
                _kill(self._process)
            if not (reply := await _reply(self._process)):
                await self._end()
                raise EngineFailed("the process that compiles constraints does not start")
            about = json.loads(reply)
            self._fault = about["fault"]
            self.end_ids = frozenset(about["end_ids"])
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            _kill(process)
            await process.communicate()


def running(compiler: ConstraintCompiler | None) -> ConstraintCompiler:
    """An engine's compiler.

    Raises:
        EngineDead: the engine has not started.
    """
    if compiler is None:
        raise EngineDead("the engine is not running")
    return compiler


def _kill(process: Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # with its child that compiles


async def _reply(process: Process, arguments: Sequence[str] | None = None) -> bytes:
    """Its next line, after it was asked; empty where it has ended or hangs."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(REPLY_S):
            if arguments is not None:
                process.stdin.write(json.dumps(arguments).encode() + b"\n")
                await process.stdin.drain()
            return await process.stdout.readline()
    except (ConnectionError, TimeoutError):
        return b""
