"""Judges in processes of their own, that can be killed.

Threads cannot be ended and signals reach only the main thread, so a grader that may hang runs in
a process. Owns starting, asking, killing and replacing these; knows nothing of what is judged.
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
"""For a judge to import its libraries, on a machine that is busy with other things."""

_PROGRAM = Path(__file__).with_name("judge_process.py")


class JudgePool:
    """Up to `num_processes` judges of one kind, each started when it is first needed.

    Can be used from several threads at once; a thread waits where all the judges are busy.
    """

    def __init__(self, judge: str, setup: Mapping[str, Any] | None = None, *, num_processes: int = 0) -> None:
        """
        Args:
            judge: which of the judges in `judge_process.py`.
            setup: what it is started with; must go through JSON.
            num_processes: 0 for one per processor that this process may use.
        """
        self._arguments = (judge, json.dumps(setup))
        # The last put back is taken first, so that a process is started only where no idle one is left.
        self._places: queue.LifoQueue[_JudgeProcess | None] = queue.LifoQueue()
        for _ in range(num_processes or _num_processors()):
            self._places.put(None)
        atexit.register(self.close)

    def score(self, *job: Any, limit_s: float) -> float:
        """What the judge makes of a job; 0 where it takes longer than the limit, or dies of it.

        Raises:
            TrainingFailed: no judge could be started, which has nothing to do with the job.
        """
        message = pickle.dumps((job, limit_s))
        process = self._places.get()
        try:
            # Twice, as a judge that was ended from outside says nothing about the job.
            for _ in range(2):
                process = process or _JudgeProcess(*self._arguments)
                try:
                    return process.ask(message, limit_s)
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
            self._places.put(process)

    def close(self) -> None:
        """End the judges that are idle; a later job starts new ones."""
        places = []
        with contextlib.suppress(queue.Empty):
            while True:
                places.append(self._places.get_nowait())
        for process in places:
            self._places.put(process.kill() if process else None)


class _JudgeProcess:
    """One process, with one job at a time."""

    def __init__(self, judge: str, setup: str) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            self._process = _start(theirs.fileno(), judge, setup)
        try:
            fault = self._receive(START_LIMIT_S).decode()
        except TimeoutError:
            fault = f"not ready after {START_LIMIT_S:.0f} s"
        except (EOFError, OSError):
            fault = "it ended at once"
        except BaseException:
            self.kill()
            raise
        if fault:
            self.kill()
            raise TrainingFailed(f"the {judge} grader did not start: {fault}")

    def ask(self, message: bytes, limit_s: float) -> float:
        """Raises TimeoutError, or EOFError or another OSError where the process has ended."""
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


def _start(stdin: int, judge: str, setup: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # -P keeps the modules beside the program from hiding others of the same name.
        [sys.executable, "-P", str(_PROGRAM), judge, setup],
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Sets in the same order each time: sympy's results can depend on it.
        env=os.environ | {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        # Ctrl-C at the terminal is for the trainer, which may want to grade what it has.
        start_new_session=True,
    )


@functools.cache
def _shared_pool(judge: str, setup: str) -> JudgePool:
    return JudgePool(judge, json.loads(setup))


_sharing = threading.Lock()


def shared_pool(judge: str, setup: Mapping[str, Any] | None = None) -> JudgePool:
    """The pool of these judges that all tasks of this process share."""
    with _sharing:
        return _shared_pool(judge, json.dumps(setup, sort_keys=True))


def _num_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
