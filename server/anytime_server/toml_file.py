"""Reads the TOML files that options name. Any file and any content give values or one line of error."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from anytime_server.errors import UnusableOption, first_line
from anytime_server.printable import beginning

MAX_DOTS = 1000
"""In a line, before or after its `=`. The memory of `tomllib` grows with the square of the parts of a key."""


def read_toml(path: Path, *, option: str, max_bytes: int = 1 << 20) -> dict[str, Any]:
    """The content of a file.

    Only regular files are read: a pipe without a writer would block, and a device may never end.

    Args:
        option: name of the option, for errors.

    Raises:
        UnusableOption: the file cannot be read, is not a regular file, is too large, or is not TOML.
    """
    try:
        content = _read(path, max_bytes)
    except OSError as error:
        raise UnusableOption(f"{option}: {path}: {error.strerror}") from error
    except ValueError as error:
        raise UnusableOption(f"{option}: {path}: {error}") from error
    if any(part.count(b".") > MAX_DOTS for part in re.split(rb"[=\n]", content)):
        raise UnusableOption(f"{option}: {path}: a line has over {MAX_DOTS} dots")
    try:
        return tomllib.loads(content.decode())
    except ValueError as error:  # also an integer with thousands of digits
        raise UnusableOption(f"{option}: {path}: not TOML: {beginning(first_line(error))}") from error
    except RecursionError:
        raise UnusableOption(f"{option}: {path}: is nested too deeply") from None


def _read(path: Path, max_bytes: int) -> bytes:
    """
    Raises:
        ValueError: it is not a regular file, or too large.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(max_bytes + 1)
    finally:
        os.close(descriptor)
    if len(content) > max_bytes:
        raise ValueError(f"is larger than {max_bytes >> 20} MiB")
    return content
