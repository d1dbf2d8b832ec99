"""What `.dockerignore` lets through to the builder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path


class Context:
    """The files of a folder that a Dockerfile's COPY can see."""

    def __init__(self, folder: Path) -> None:
        lines = (folder / ".dockerignore").read_text(encoding="utf-8").splitlines()
        rules = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        self._folder = folder
        self._rules = [(not rule.startswith("!"), rule.lstrip("!").strip("/")) for rule in rules]

    def files(self) -> Iterator[Path]:
        """Paths of files, relative to the folder."""
        for root, folders, names in os.walk(self._folder):
            inside = Path(root).relative_to(self._folder)
            folders[:] = [name for name in folders if self._may_hold(inside / name)]
            yield from (inside / name for name in names if not self._ignores(inside / name))

    def _ignores(self, path: Path) -> bool:
        """The last rule that matches the path, or a folder above it, decides."""
        above = [path, *path.parents][:-1]
        verdict = False
        for ignores, rule in self._rules:
            if any(re.fullmatch(_regex(rule), one.as_posix()) for one in above):
                verdict = ignores
        return verdict

    def _may_hold(self, folder: Path) -> bool:
        exceptions = (Path(rule) for ignores, rule in self._rules if not ignores)
        return not self._ignores(folder) or any(folder in rule.parents for rule in exceptions)


def _regex(rule: str) -> str:
    """A pattern of `.dockerignore`: `*` within a name, `**/` any number of folders."""
    parts = re.split(r"(\*\*/|\*)", rule)
    return "".join({"**/": "(?:.*/)?", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts)
