"""Graders in processes of their own, which can be killed.

Threads cannot be killed, and signals reach only the main thread, so a grader that may hang runs in a process.
Owns starting, calling, killing and replacing the processes; knows nothing about the grading.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import math
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

from anytime_training.errors import TrainingFailed

START_LIMIT_S = 120.0
"""Time limit for a grader to import its libraries, on a busy machine."""

_PROGRAM = Path(__file__).with_name("grader_process.py")


class GraderPool:
    """Up to `num_processes` graders of one kind, each started when it is first needed.

    Can be used from several threads at once; a thread waits while all graders are busy.
    """

    def __init__(
        self, grader: str, setup: Mapping[str, Any] | None = None, *, num_processes: int = 0
    ) -> None:
        """
        Args:
            grader: name of a grader in `grader_process.py`.
            setup: argument of the grader's start; must be JSON-serialisable.
            num_processes: 0 for the number of processors that this process may use.
        """
        self._arguments = (grader, json.dumps(setup))
        # Last in, first out: a process is started only when no idle process is left.
        self._slots: queue.LifoQueue[_GraderProcess | None] = queue.LifoQueue()
        for _ in range(num_processes or _num_processors()):
            self._slots.put(None)
        atexit.register(self.close)

    def score(self, *job: Any, limit_s: float) -> float:
        """The grader's score of a job; 0 if it exceeds the limit or crashes the grader.

        Raises:
            TrainingFailed: no grader could be started, for a reason other than the job.
        """
        message = pickle.dumps((job, limit_s))
        process = self._slots.get()
        try:
            # Twice, as a grader that was killed from outside says nothing about the job.
            for _ in range(2):
                process = process or _GraderProcess(*self._arguments)
                try:
                    return process.score(message, limit_s)
                except TimeoutError:
                    process = process.kill()
                    return 0.0
                except (EOFError, OSError):
                    process = process.kill()
                except BaseException:  # interrupted: a late reply would be taken for the next job's
                    process = process.kill()
                    raise
            return 0.0
        finally:
            self._slots.put(process)

    def close(self) -> None:
        """Kill the idle graders; a later job starts new ones."""
        slots = []
        with contextlib.suppress(queue.Empty):
            while True:
                slots.append(self._slots.get_nowait())
        for process in slots:
            self._slots.put(process.kill() if process else None)


class _GraderProcess:
    """One process, with one job at a time."""

    def __init__(self, grader: str, setup: str) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            self._process = _start(theirs.fileno(), grader, setup)
        try:
            fault = self._receive(START_LIMIT_S).decode()
        except TimeoutError:
            fault = f"not ready after {START_LIMIT_S:.0f} s"
        except (EOFError, OSError):
            fault = "it exited at once"
        except BaseException:
            self.kill()
            raise
        if fault:
            self.kill()
            raise TrainingFailed(f"the {grader} grader did not start: {fault}")

    def score(self, message: bytes, limit_s: float) -> float:
        """Raises TimeoutError; EOFError or another OSError if the process has exited."""
        self._connection.send_bytes(message)
        score = float(self._receive(limit_s))
        return 0.0 if math.isnan(score) else score

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()

    def _receive(self, limit_s: float) -> bytes:
        if not self._connection.poll(limit_s):
            raise TimeoutError
        return self._connection.recv_bytes()


def _start(stdin: int, grader: str, setup: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # -P keeps the modules beside the program from hiding others of the same name.
        [sys.executable, "-P", str(_PROGRAM), grader, setup],
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A fixed hash seed fixes the order of sets, which sympy's results can depend on.
        env=os.environ | {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        # Ctrl-C at the terminal is for the trainer, which may still need the graders.
        start_new_session=True,
    )


@functools.cache
def _shared_pool(grader: str, setup: str) -> GraderPool:
    return GraderPool(grader, json.loads(setup))


_sharing = threading.Lock()


def shared_pool(grader: str, setup: Mapping[str, Any] | None = None) -> GraderPool:
    """The pool of these graders that all tasks of this process share."""
    with _sharing:
        return _shared_pool(grader, json.dumps(setup, sort_keys=True))


def _num_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
