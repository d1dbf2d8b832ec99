"""The Dockerfile as data: its stages, their instructions, and the configuration that an image gets from them.

Knows the instructions that our Dockerfile uses and refuses all others. Runs nothing.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

FLAGS = {
    "RUN": {"mount"},
    "COPY": {"from"},
    "HEALTHCHECK": {"interval", "timeout", "start-period", "retries"},
}
KEYWORDS = {"ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "LABEL", "STOPSIGNAL"} | FLAGS.keys()
KEYWORDS |= {"USER", "VOLUME", "WORKDIR"}


class UnknownInstruction(ValueError):
    """Something that Docker may know, but this does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction of a stage."""

    line: int
    """Where it begins in the file."""
    keyword: str
    """`RUN`, `COPY`, ..."""
    flags: tuple[tuple[str, str], ...]
    """`--name=value`, in their order; a name may come twice."""
    value: str
    """The rest, with lines joined and variables as they are written."""

    def words(self) -> list[str]:
        """The value as a list: JSON where it is that, else split as a shell does."""
        return json.loads(self.value) if self.value.startswith("[") else shlex.split(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What stands between one FROM and the next."""

    name: str
    base: str
    """The name of an earlier stage, or an image."""
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What an image says of how to run it."""

    environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    arguments: Mapping[str, str] = field(default_factory=dict)
    """ARGs of the stage: in the environment of its RUNs, and not in the image."""
    labels: Mapping[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    health: tuple[str, ...] = ()
    """The program that tells whether a container is healthy."""
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = "SIGTERM"

    def fill(self, text: str) -> str:
        """Put variables in."""
        values = {**self.arguments, **self.environment}
        return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: values[found[1] or found[2]], text)

    def after(self, one: Instruction, *, given: Mapping[str, str]) -> Configuration:
        """The configuration after an instruction, with the build arguments that were `given`."""
        match one.keyword:
            case "ENV":
                return replace(self, environment={**self.environment, **self._pairs(one)})
            case "LABEL":
                return replace(self, labels={**self.labels, **self._pairs(one)})
            case "ARG":
                name, _, default = one.value.partition("=")
                return replace(self, arguments={**self.arguments, name: given.get(name, self.fill(default))})
            case "WORKDIR":
                return replace(self, folder=str(Path(self.folder) / self.fill(one.value)))
            case "USER":
                return replace(self, user=self.fill(one.value))
            case "ENTRYPOINT":
                return replace(self, entrypoint=tuple(json.loads(one.value)))
            case "CMD":
                return replace(self, command=tuple(json.loads(one.value)))
            case "HEALTHCHECK":
                return replace(self, health=tuple(json.loads(one.value.removeprefix("CMD "))))
            case "EXPOSE":
                return replace(self, ports=(*self.ports, *one.words()))
            case "VOLUME":
                return replace(self, volumes=(*self.volumes, *one.words()))
            case "STOPSIGNAL":
                return replace(self, stop_signal=one.value)
            case _:
                return self

    def _pairs(self, one: Instruction) -> dict[str, str]:
        pairs = (self.fill(word).partition("=") for word in one.words())
        return {name: value for name, _, value in pairs}


def parse(text: str, *, given: Mapping[str, str] | None = None) -> list[Stage]:
    """The stages of a Dockerfile, in their order, with the build arguments that were `given`.

    Raises:
        UnknownInstruction: something is in it that this does not know.
    """
    before = Configuration()
    stages: list[Stage] = []
    for one in _instructions(text):
        if one.keyword == "FROM":
            base, *name = before.fill(one.value).split()
            if len(name) != 2 or name[0].upper() != "AS":
                raise UnknownInstruction(f"line {one.line}: a stage without a name")
            stages.append(Stage(name=name[1], base=base, instructions=()))
        elif stages:
            stages[-1] = replace(stages[-1], instructions=(*stages[-1].instructions, one))
        else:
            before = before.after(one, given=given or {})
    return stages


def configuration(stages: list[Stage], target: str) -> Configuration:
    """What the image of a stage says, its bases' instructions included."""
    [stage] = [stage for stage in stages if stage.name == target]
    inherits = any(stage.base == earlier.name for earlier in stages)
    state = replace(configuration(stages, stage.base), arguments={}) if inherits else Configuration()
    for one in stage.instructions:
        state = state.after(one, given={})
    return state


def _instructions(text: str) -> list[Instruction]:
    found: list[Instruction] = []
    begun, parts = 0, []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        begun = begun or number
        parts.append(stripped.removesuffix("\\").strip())
        if not stripped.endswith("\\"):
            found.append(_instruction(begun, " ".join(parts)))
            begun, parts = 0, []
    return found


def _instruction(line: int, text: str) -> Instruction:
    keyword, _, rest = text.partition(" ")
    flags: list[tuple[str, str]] = []
    while flag := re.match(r"--([\w-]+)(?:=(\S+))?\s+", rest):
        flags.append((flag[1], flag[2] or ""))
        rest = rest[flag.end() :]
    unknown = {name for name, _ in flags} - FLAGS.get(keyword, set())
    if keyword not in KEYWORDS or unknown or "<<" in rest:
        raise UnknownInstruction(f"line {line}: {text}")
    return Instruction(line=line, keyword=keyword, flags=tuple(flags), value=rest)
