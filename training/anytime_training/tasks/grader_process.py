"""A process that grades answers with code that may hang, exhaust memory or evaluate a model's text.

`grader_pool.py` runs it as a file; it imports nothing of this package, to start quickly. Its standard input
is a socket. It first reports whether it started, then receives pickled jobs and replies with a score each,
and exits when the other end closes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
import re
import resource
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

MEMORY_BYTES = 4 * 2**30
"""Limit of the address space: a huge power fails instead of filling the machine's memory."""

ORPHAN_GRACE_S = 5.0
"""Seconds after a job's limit at which the process exits by itself, if its pool has died."""

_BARE = re.compile(r"(?!.*(?:\\boxed|\\\(|\\\[|\*\*))(?!.*(?<![\\A-Za-z])[A-Za-z]{2})[^$\n]+")
"""A formula without words, `**`, dollar signs or a box. In such a text math-verify searches for numbers, and
finds a 1 in `[0, 1)`; in a box it reads the whole formula."""

Grader = Callable[..., float]


def math_grader(_setup: Any) -> Grader:
    """math-verify, for a right answer and a text; its own time limits, which need signals, are off."""
    import math_verify
    from sympy.core import random as sympy_random

    def parse(text: str) -> list[Any]:
        return math_verify.parse(text, parsing_timeout=None)  # pyright: ignore[reportArgumentType]

    def grade(answer: str, text: str) -> float:
        # sympy compares some expressions at random points; the seed makes them the same points every time.
        sympy_random.seed(0)
        gold = parse(answer if "\\boxed" in answer else _boxed(answer))
        given = parse(_boxed(text)) if _BARE.fullmatch(text) else parse(text)
        if not given and "\\boxed" not in text:  # a word, which math-verify reads as a name in a box
            given = parse(_boxed(text))
        return float(math_verify.verify(gold, given, timeout_seconds=None))

    return grade


def _boxed(text: str) -> str:
    return f"\\boxed{{{text.strip('*').rstrip('.')}}}"


def gym_grader(setup: Any) -> Grader:
    """A reasoning-gym dataset's own score."""
    import reasoning_gym

    dataset = reasoning_gym.create_dataset(setup["dataset"], **setup["options"])

    def grade(entry: dict[str, Any], text: str) -> float:
        return float(dataset.score_answer(text, entry))

    return grade


GRADERS: dict[str, Callable[[Any], Grader]] = {"math": math_grader, "gym": gym_grader}


def main() -> None:
    """Grade jobs until the pool closes the connection."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)
    connection = Connection(0)
    try:
        grade = GRADERS[sys.argv[1]](json.loads(sys.argv[2]))
    except Exception as error:
        connection.send_bytes(f"{type(error).__name__}: {error}".encode())
        return
    connection.send_bytes(b"")
    with contextlib.suppress(EOFError, OSError):
        while True:
            job, limit_s = pickle.loads(connection.recv_bytes())
            # Without a handler, the signal ends the process even during a long operation in C.
            signal.setitimer(signal.ITIMER_REAL, limit_s + ORPHAN_GRACE_S)
            try:
                score = grade(*job)
            except Exception:  # the libraries may raise anything for a model's text: it is no right answer
                score = 0.0
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send_bytes(repr(score).encode())


if __name__ == "__main__":
    main()
