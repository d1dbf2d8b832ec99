"""The stages of the check, and how they run: each in a process of its own, within a time limit.

A stage that fails, crashes or takes too long leaves its results so far, and the others run. Stages are forked
from a process that has imported the libraries but not touched the GPU.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

from gpu_check.record import Record, Status

MIN_STAGE_S = 5.0
"""A stage with less time, in seconds, is skipped."""
MAX_ERROR_CHARACTERS = 3000
MAX_SHOWN_CHARACTERS = 200
"""Of a result, on the terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A part of the check."""

    name: str
    entry: str
    """`package.module:function`, called with a `Context`."""
    share: float
    """Share of the whole time that it may take; the last stage may take all that is left."""


STAGES = (
    Stage(name="attention", entry="gpu_check.attention:run", share=0.2),
    Stage(name="packing", entry="gpu_check.packing:run", share=0.27),
    Stage(name="step", entry="gpu_check.step:run", share=0.2),
    Stage(name="engine", entry="gpu_check.engine:run", share=0.15),
    Stage(name="demo", entry="gpu_check.demo:run", share=0.2),
)
PRELOADED = ("gpu_check.preload",)
"""Imported once, before the first stage."""


class CheckFailed(Exception):
    """A measured value is not as required."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The argument of a stage."""

    tiny: bool
    """Whether to run on a CPU, in tiny sizes."""
    deadline_s: float
    """Time by `time.monotonic()` at which the stage is killed."""
    connection: Connection

    @property
    def device(self) -> str:
        return "cpu" if self.tiny else "cuda"

    @property
    def seconds_left(self) -> float:
        return self.deadline_s - time.monotonic()

    def report(self, name: str, value: Any) -> None:
        """Put a result into the record; `value` is JSON."""
        self.connection.send(("result", name, value))


def run_stages(
    stages: Sequence[Stage],
    record: Record,
    *,
    seconds: float,
    tiny: bool,
    preloaded: Sequence[str] = PRELOADED,
) -> bool:
    """Run stages one after the other, `seconds` together. Returns whether all of them passed."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(list(preloaded))
    end_s = time.monotonic() + seconds
    passed = True
    for stage in stages:
        left_s = end_s - time.monotonic()
        limit_s = left_s if stage is stages[-1] else min(left_s, stage.share * seconds)
        record.begin(stage.name, limit_s=limit_s)
        print(f"{stage.name}: at most {limit_s:.0f} s", flush=True)
        if limit_s < MIN_STAGE_S:
            status, error, taken_s = "skipped", "no time was left", 0.0
        else:
            started_s = time.monotonic()
            ours, theirs = processes.Pipe(duplex=False)
            context = Context(tiny=tiny, deadline_s=started_s + limit_s, connection=theirs)
            process = processes.Process(target=_run, args=(stage.entry, context))
            try:
                process.start()
                theirs.close()
                status, error = _follow(stage.name, process, ours, context.deadline_s, record)
            except (OSError, EOFError) as failure:  # the process that stages are forked from has died
                status, error = "failed", f"no process could be started: {failure!r}"
            taken_s = time.monotonic() - started_s
        record.end(stage.name, status, seconds=taken_s, error=error)
        print(f"{stage.name}: {status} after {taken_s:.1f} s{f': {error}' if error else ''}", flush=True)
        passed = passed and status == "passed"
    record.finish()
    return passed


def _follow(
    name: str, process: ForkServerProcess, results: Connection, deadline_s: float, record: Record
) -> tuple[Status, str | None]:
    """Record what the process reports, until its end or the deadline: its status and error."""
    try:
        while (left_s := deadline_s - time.monotonic()) > 0:
            if results.poll(min(left_s, 0.5)):
                kind, key, value = results.recv()
                if kind != "result":
                    return kind, value
                record.add(name, key, value)
                print(f"  {name}.{key}: {str(value)[:MAX_SHOWN_CHARACTERS]}", flush=True)
            elif not process.is_alive() and not results.poll():
                break
        else:
            return "timed_out", "the time limit was reached"
    except EOFError:
        pass
    finally:
        _kill(process)
    return "failed", f"the process ended with exit status {process.exitcode}"


def _kill(process: ForkServerProcess) -> None:
    process.join(1)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid or 0, signal.SIGKILL)  # with all that it started
    if process.is_alive():
        process.kill()
    process.join()


def _run(entry: str, context: Context) -> None:
    """Run a stage, in its own process."""
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    end: tuple[Status, str, str | None] = ("passed", "", None)
    try:
        module, _, function = entry.partition(":")
        getattr(importlib.import_module(module), function)(context)
    except CheckFailed as failure:
        end = ("failed", "", str(failure))
    except BaseException:
        end = ("failed", "", traceback.format_exc()[-MAX_ERROR_CHARACTERS:])
    context.connection.send(end)


def _end_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os.killpg(0, signal.SIGKILL)
