"""Build a target of the Dockerfile without Docker, start what came of it, ask it something, and stop it.

Stages become folders, RUNs become programs in a chroot. The base image is a folder with a bare Debian
(`scripts/image-check.sh` makes it). Layers, and how large they are in a registry, are not part of it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import chroot
from context import Context
from dockerfile import Configuration, Instruction, Stage, parse

ROOT = Path(__file__).parent.parent.parent
WITHIN_S = 300
"""How long the server may take to be ready, and the whole to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """Turns stages into folders."""

    stages: Mapping[str, Stage]
    bare: Path
    """The folder that stands for the image of a FROM that is no stage."""
    work: Path
    """Where the folders are made, and the caches of RUNs."""
    given: Mapping[str, str]
    """Build arguments."""
    binds: Mapping[str, Path]
    """What RUNs see of this machine: where packages come from, for example."""
    outer: Mapping[str, str]
    """Variables for RUNs that the Dockerfile knows nothing of, for the same reason."""

    def build(self, name: str) -> tuple[Path, Configuration]:
        """The folder of a stage, made by its instructions if it is not there yet, and its configuration."""
        if name not in self.stages:
            return self.bare, Configuration()
        stage, folder = self.stages[name], self.work / "stages" / name
        base, inherited = self.build(stage.base)
        done = folder.with_suffix(".done")
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "--archive", base, folder], check=True)
        state = replace(inherited, arguments={})
        for one in stage.instructions:
            state = state.after(one, given=self.given)
            if not done.exists():
                print(f"[{name}] {one.keyword} {one.value}", flush=True)
                self._carry_out(one, folder, state)
        done.touch()
        return folder, state

    def _carry_out(self, one: Instruction, folder: Path, state: Configuration) -> None:
        if one.keyword == "RUN":
            self._run(one, folder, state)
        elif one.keyword == "COPY":
            self._copy(one, folder, state)
        elif one.keyword == "WORKDIR":
            (folder / state.folder.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def _run(self, one: Instruction, folder: Path, state: Configuration) -> None:
        caches: dict[str, Path] = {}
        for _, mount in one.flags:
            options = {name: value for name, _, value in (part.partition("=") for part in mount.split(","))}
            assert options.keys() == {"type", "target"}, f"line {one.line}: {mount}"
            assert options["type"] == "cache", f"line {one.line}: {mount}"
            caches[options["target"]] = self.work / "caches" / options["target"].strip("/").replace("/", "-")
            caches[options["target"]].mkdir(parents=True, exist_ok=True)
        status = chroot.run(
            folder,
            ["/bin/sh", "-c", one.value],
            environment={"HOME": "/root", **self.outer, **state.arguments, **state.environment},
            folder=state.folder,
            user=state.user,
            binds=caches,
            shown=self.binds,
        )
        if status != 0:
            sys.exit(f"line {one.line} of the Dockerfile ended with {status}")

    def _copy(self, one: Instruction, folder: Path, state: Configuration) -> None:
        *sources, target = (state.fill(word) for word in one.words())
        to = folder / str(Path(state.folder) / target).lstrip("/")
        many = len(sources) > 1 or target.endswith("/")
        if stage := dict(one.flags).get("from"):
            origin, _ = self.build(stage)
            for source in sources:
                _lay_over(origin / source.lstrip("/"), to)
            return
        visible = list(Context(ROOT).files())
        for source in sources:
            taken = [path for path in visible if path == Path(source) or Path(source) in path.parents]
            assert taken, f"line {one.line}: .dockerignore leaves nothing of {source}"
            for path in taken:
                below = path.relative_to(source) if path != Path(source) else Path(path.name if many else "")
                (to / below).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / path, to / below)


def _lay_over(source: Path, to: Path) -> None:
    """As COPY does with a folder: its contents, over what is there."""
    to.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--archive", f"{source}/.", to], check=True)


def try_out(folder: Path, image: Configuration, *, work: Path, port: int) -> None:
    """Start the image as the deployments do: with keys, not as root, unable to write to its file system."""
    uid, gid = map(int, image.user.split(":"))
    [volume] = image.volumes
    home = work / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    secret = secrets.token_urlsafe(32)
    keys = home / "keys.toml"
    keys.write_text(f'[[keys]]\nname = "check"\nsha256 = "{hashlib.sha256(secret.encode()).hexdigest()}"\n')
    keys.chmod(0o400)
    for path in (home, keys):
        os.chown(path, uid, gid)

    def program(*command: str) -> subprocess.Popen[bytes]:
        return chroot.start(
            folder,
            command,
            environment={**image.environment, "ANYTIME_PORT": str(port)},
            folder=image.folder,
            user=image.user,
            binds={volume: home},
            read_only=True,
        )

    serve = image.entrypoint + image.command
    assert program(*serve).wait() == 2, "it is to refuse to serve everybody without keys"
    server = program(*serve, "--keys", f"{volume}/keys.toml")
    until = time.monotonic() + WITHIN_S
    while program(*image.health).wait() != 0:
        assert server.poll() is None, f"the server ended with {server.returncode}"
        assert time.monotonic() < until, f"not healthy within {WITHIN_S} s"
        time.sleep(1)
    print("healthy", flush=True)
    question = {"messages": [{"role": "user", "content": "What is 2 + 2?"}], "budget": 8, "stream": False}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/anytime",
        data=json.dumps(question).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {secret}"},
    )
    answer = json.load(urllib.request.urlopen(request, timeout=60))
    print(f"answered {answer['answer']!r}, {answer['usage']}", flush=True)
    [inner] = _children(server.pid)
    assert os.stat(f"/proc/{inner}").st_uid == uid, "the server runs as another user"
    os.kill(inner, getattr(signal, image.stop_signal))
    status = server.wait(timeout=WITHIN_S)
    assert status == 0, f"told to stop, the server ended with {status}"
    print("stopped with 0; written to its home: ", end="")
    print(*sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()), sep=", ")


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()]


def main() -> None:
    """Read the command line; build, and try out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bare", type=Path, required=True, help="folder with a bare Debian")
    parser.add_argument("--work", type=Path, required=True, help="folder to work in")
    parser.add_argument("--target", default="cpu", help="stage to build (default: %(default)s)")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument(
        "--bind", action="append", default=[], metavar="OUTSIDE[:INSIDE]", help="to show RUNs"
    )
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--port", type=int, default=8099, help="to try the server on (default: %(default)s)")
    options = parser.parse_args()
    given = dict(one.split("=", 1) for one in options.build_arg)
    stages = parse((ROOT / "Dockerfile").read_text(encoding="utf-8"), given=given)
    binds = [one.partition(":") for one in options.bind]
    builder = Builder(
        stages={stage.name: stage for stage in stages},
        bare=options.bare.resolve(),
        work=options.work.resolve(),
        given=given,
        binds={inside or outside: Path(outside) for outside, _, inside in binds},
        outer=dict(one.split("=", 1) for one in options.env),
    )
    folder, image = builder.build(options.target)
    subprocess.run(["du", "--summarize", "--human-readable", options.bare, folder], check=True)
    try_out(folder, image, work=builder.work, port=options.port)


if __name__ == "__main__":
    main()
