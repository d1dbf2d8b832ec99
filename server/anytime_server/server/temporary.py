"""A folder for the temporary files of a server and its engine, which is removed with them.

vLLM puts sockets and files for its processes there. A killed server leaves its folder, and the next server
removes it.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "anytime-server-"
LOCK = "lock"
"""File that is locked as long as any process of the server lives."""


@contextmanager
def own_temporary_folder() -> Iterator[None]:
    """Use a new folder for temporary files within the block, in this process and those that it starts.

    Without a place for it, temporary files stay where they are.
    """
    folder, before = None, (tempfile.tempdir, os.environ.get("TMPDIR"))
    with suppress(OSError):
        _remove_abandoned(Path(tempfile.gettempdir()))
        # Libraries keep compiled code here from one start to the next.
        cache = Path(tempfile.gettempdir(), f"torchinductor_{getpass.getuser()}")
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        fcntl.flock(os.open(folder / LOCK, os.O_CREAT | os.O_RDWR), fcntl.LOCK_EX)
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        if folder is not None:
            tempfile.tempdir, variable = before
            os.environ.pop("TMPDIR", None)
            if variable is not None:
                os.environ["TMPDIR"] = variable
            shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders of servers that were killed."""
    for lock in parent.glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError):  # another user's, or locked by a server that lives
            descriptor = os.open(lock, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
            finally:
                os.close(descriptor)
