"""Runs documented `anytime serve` commands on a free port, and stops the servers once they have started.

Without `--engine` it uses the scripted engine, which takes the same options and starts at once.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from ..prefork import preforked
from ..servers import started

SERVE_BRIEFLY = "serve briefly:"
"""Begins a command for `serve_briefly`, before its variables and options."""


def serve_briefly(command: str, folder: Path) -> None:
    """Start the server of a command in the folder, and stop it."""
    words = shlex.split(re.sub(r"--port[ =]\d+ ?", "", command.removeprefix(SERVE_BRIEFLY)))
    assignments = [word for word in words if re.match(r"\w+=", word)]
    options = words[len(assignments) :]
    if not any(option.startswith("--engine") for option in options):
        options += ["--engine", "scripted"]
    environment = dict(word.split("=", 1) for word in assignments)
    process = preforked().start(["--port", "0", *options], folder=folder, environment=environment)
    assert started(process).stop() == 0
