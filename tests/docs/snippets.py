"""Finds the fenced code blocks of the documentation. Does not run them.

Rules for writers of documentation:

- Blocks run in order, document by document, in a folder that looks like the repository's root but has a
  `runs/` of its own. `127.0.0.1:8000` stands for the server on the bundled model.
- `python` runs as a separate script and must print nothing on standard error; `ts` runs in Node.
- `bash`, `console` and blocks without a language are commands. If lines begin with `$ `, only those are
  commands, and the lines after each are its output. `commands.py` lists the commands that are shortened.
- Pages on models have a server of their own: see `model_pages.py`.
- `json` with `messages` (or `input`) is posted to `/v1/anytime` (or `/v1/responses`); `[...]` stands for
  messages, `{...}` for a schema. `<!-- post: /v1/messages -->` before the block names another endpoint.
  `<!-- file: NAME -->` makes it a manifest, which is written into the folder. Other JSON is only parsed.
- `toml` with a `kind` is a recipe, without it a configuration of `anytime serve`.
- `text` is not run. After `<!-- output -->` it is the output of the block before it; `...` matches anything.
- A block after `<!-- not run: REASON -->` is skipped, and the test summary shows the reason.
- A block after `<!-- nightly: REASON -->` runs only with `--nightly`, and so do all of `docs/results.md`.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

FENCE = re.compile(r"(?P<indent> *)(?P<fence>```+)(?P<language>[\w-]*)(?P<rest>.*)")
MARKER = re.compile(r" *<!-- (?P<name>output|not run|nightly|post|file)(?:: *(?P<value>.*?))? *-->")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """One fenced block."""

    document: str
    """Path of the document, relative to the repository's root."""
    line: int
    """Line of the opening fence."""
    language: str
    text: str
    marker: str | None
    """Name of the marker before the block: `output`, `not run`, `nightly`, `post` or `file`."""
    value: str
    """The text after the marker's name."""
    output: str | None = None
    """The output that the document shows, if any."""

    @property
    def location(self) -> str:
        return f"{self.document}:{self.line}"


def snippets_of(document: str, root: Path) -> list[Snippet]:
    """The blocks of a document in order, with output blocks attached to the blocks before them."""
    found: list[Snippet] = []
    for block in _blocks(document, (root / document).read_text(encoding="utf-8").splitlines()):
        if block.marker == "output":
            assert found, f"{block.location}: an output without a block before it"
            found[-1] = replace(found[-1], output=block.text)
        else:
            found.append(block)
    return found


def _blocks(document: str, lines: list[str]) -> Iterator[Snippet]:
    numbered = iter(enumerate(lines, 1))
    before = ""
    for number, line in numbered:
        fence = FENCE.fullmatch(line)
        if fence is None:
            before = line if line.strip() else before
            continue
        inside: list[str] = []
        for _, text in numbered:
            if text.strip() == fence["fence"]:
                break
            inside.append(text)
        else:
            raise AssertionError(f"{document}:{number}: the block has no end")
        marker = MARKER.fullmatch(before)
        before = ""
        yield Snippet(
            document=document,
            line=number,
            language=fence["language"],
            text=textwrap.dedent("\n".join(inside)) + "\n",
            marker=marker and marker["name"],
            value=(marker and marker["value"]) or "",
        )
