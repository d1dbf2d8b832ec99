"""The end of a process after a signal, where code of a custom task does not return.

Such code can be stopped neither in the main thread, where it would have to help, nor in another thread.
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

from anytime_server.printable import print_error

from anytime_training.tasks.custom import hanging_call

INTERRUPTED = 130
TASK_GRACE_S = 1.5
"""Seconds after a signal within which a call of a custom task must return."""


def end_if_a_task_hangs(command: str, *, advice: str) -> None:
    """From now on, end the process if a call of a custom task does not return within `TASK_GRACE_S`.

    Called in a signal handler. The exit status is `INTERRUPTED`.

    Args:
        command: name of the command, for the message.
        advice: what is lost, and what to do.
    """
    began = time.monotonic()

    def check(number: int, frame: FrameType | None) -> None:
        if (call := hanging_call(since=began, limit_s=TASK_GRACE_S)) is not None:
            print_error(command, f"{call} does not return: {advice}")
            os._exit(INTERRUPTED)

    # A timer of signals, not a thread: a regular expression that backtracks lets no other thread run.
    signal.signal(signal.SIGALRM, check)
    signal.setitimer(signal.ITIMER_REAL, TASK_GRACE_S, TASK_GRACE_S / 4)


def stop_checking() -> None:
    """End what `end_if_a_task_hangs` began, if it did."""
    if signal.getitimer(signal.ITIMER_REAL)[1] == TASK_GRACE_S / 4:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
