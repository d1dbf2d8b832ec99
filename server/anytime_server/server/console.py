"""What a command tells the person at its terminal."""

from __future__ import annotations

import contextlib
import os
import sys


def tell(text: str) -> None:
    """Print a line at once. That it cannot be printed stops nothing."""
    with contextlib.suppress(OSError):
        try:
            print(text, flush=True)
        except BrokenPipeError:  # whoever read the output has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or it fails again at exit
