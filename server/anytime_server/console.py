"""What a command tells the person at its terminal."""

from __future__ import annotations

import os
import sys


def tell(text: str) -> None:
    """Print a line at once. Whoever read the output may have gone: that stops nothing."""
    try:
        print(text, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or what is held back fails at exit
