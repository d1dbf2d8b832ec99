"""A process that judges answers with code that may hang, eat memory or evaluate what a model wrote.

Run as a file by `judge_pool.py`; imports nothing of this package, so that it starts quickly. Its
standard input is a socket: it says whether it could start, then takes one pickled job after another
and replies with a score, and ends when the other end closes.
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
"""Address space: a huge power fails here rather than filling the machine."""

ORPHAN_GRACE_S = 5.0
"""The pool kills what is over its limit; this long after, a judge whose pool has died ends itself."""

_BARE = re.compile(r"(?!.*(?:\\boxed|\\\(|\\\[|\*\*))(?!.*(?<![\\A-Za-z])[A-Za-z]{2})[^$\n]+")
"""A formula without a word, `**`, dollar sign or box around it. math-verify looks for numbers in such a
text, and would find a 1 in `[0, 1)`; within a box it takes all of it."""

Judge = Callable[..., float]


def math_judge(_setup: Any) -> Judge:
    """math-verify, on a right answer and a text: with its own limits off, which need signals."""
    import math_verify
    from sympy.core import random as sympy_random

    def parse(text: str) -> list[Any]:
        return math_verify.parse(text, parsing_timeout=None)  # pyright: ignore[reportArgumentType]

    def judge(answer: str, text: str) -> float:
        # sympy compares some expressions at random points: always at the same ones.
        sympy_random.seed(0)
        gold = parse(answer if "\\boxed" in answer else _boxed(answer))
        given = parse(_boxed(text)) if _BARE.fullmatch(text) else parse(text)
        if not given and "\\boxed" not in text:  # a word: within a box it is a name
            given = parse(_boxed(text))
        return float(math_verify.verify(gold, given, timeout_seconds=None))

    return judge


def _boxed(text: str) -> str:
    return f"\\boxed{{{text.strip('*').rstrip('.')}}}"


def gym_judge(setup: Any) -> Judge:
    """A reasoning-gym dataset's own score."""
    import reasoning_gym

    dataset = reasoning_gym.create_dataset(setup["dataset"], **setup["options"])

    def judge(entry: dict[str, Any], text: str) -> float:
        return float(dataset.score_answer(text, entry))

    return judge


JUDGES: dict[str, Callable[[Any], Judge]] = {"math": math_judge, "gym": gym_judge}


def main() -> None:
    """Serve one pool until it closes the connection."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)
    connection = Connection(0)
    try:
        judge = JUDGES[sys.argv[1]](json.loads(sys.argv[2]))
    except Exception as error:
        connection.send_bytes(f"{type(error).__name__}: {error}".encode())
        return
    connection.send_bytes(b"")
    with contextlib.suppress(EOFError, OSError):
        while True:
            job, limit_s = pickle.loads(connection.recv_bytes())
            # Unhandled, the signal ends the process even within one long operation in C.
            signal.setitimer(signal.ITIMER_REAL, limit_s + ORPHAN_GRACE_S)
            try:
                score = judge(*job)
            except Exception:  # whatever the libraries make of what a model wrote: no right answer
                score = 0.0
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send_bytes(repr(score).encode())


if __name__ == "__main__":
    main()
