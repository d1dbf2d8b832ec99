"""Lines for the person at the terminal."""

from __future__ import annotations

import contextlib
import os
import sys


def print_line(text: str) -> None:
    """Print a line to standard output and flush it. Errors of the output are ignored."""
    with contextlib.suppress(OSError):
        try:
            print(text, flush=True)
        except BrokenPipeError:  # the reader has closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit fails again
