"""Programs in a root folder of their own: a chroot in mount and process namespaces that end with the program.

Needs root, and `unshare` and `chroot` of Debian. Knows nothing of Dockerfiles.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def start(
    root: Path,
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: str = "/",
    user: str = "0:0",
    binds: Mapping[str, Path] | None = None,
    shown: Mapping[str, Path] | None = None,
    read_only: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a program in `root`; `binds` are folders and files of this machine that it gets, by where.

    It can write to them, but not to those that are `shown`. With `read_only`, it can write to /tmp, /dev/shm
    and what is bound, and to nothing else.
    """
    wanted = {"/dev": Path("/dev"), "/sys": Path("/sys"), **(binds or {}), **(shown or {})}
    for inside, outside in wanted.items():
        point = root / inside.lstrip("/")
        if outside.is_dir():
            point.mkdir(parents=True, exist_ok=True)
        else:
            point.parent.mkdir(parents=True, exist_ok=True)
            point.touch()
    mounts = [f"mount --bind {root} {root}", f"mount -t proc proc {root}/proc"]
    mounts += ["mount -o remount,ro,bind " + str(root)] * read_only
    mounts += [f"mount --rbind {outside} {root}{inside}" for inside, outside in wanted.items()]
    mounts += [f"mount -o remount,ro,bind {root}{inside}" for inside in shown or {}]
    mounts += [f"mount -t tmpfs tmpfs {root}/tmp"] * read_only
    inner = ["env", "-i", *(f"{name}={value}" for name, value in environment.items())]
    inner += ["sh", "-c", 'cd "$0" && exec "$@"', folder, *command]
    program = shlex.join(["chroot", f"--userspec={user}", str(root), *inner])
    script = " && ".join([*mounts, f"exec {program}"])
    return subprocess.Popen(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script])


def run(root: Path, command: Sequence[str], **options: object) -> int:
    """Run a program as `start` does, to its end. Returns its exit status."""
    return start(root, command, **options).wait()  # pyright: ignore[reportArgumentType]
