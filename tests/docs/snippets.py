"""The fenced code blocks of the documentation: where they stand and how they are meant.

Knows nothing of running them. What a writer of documentation has to know:

- Blocks run in order, document by document, in a folder that looks like the repository's root but has a
  `runs/` of its own. `127.0.0.1:8000` stands for the server on the bundled model.
- `python` runs as a script of its own and prints nothing on standard error; `ts` runs in Node.
- `bash`, `console` and blocks without a language are commands. Where lines begin with `$ `, only those are,
  and what follows each is what it prints. `commands.py` says what is run in a shorter form.
- `json` with `messages` (or `input`) is posted to `/v1/anytime` (or `/v1/responses`); `[...]` stands for some
  messages, `{...}` for some schema. `<!-- post: /v1/messages -->` before the block names another endpoint.
  Other JSON is parsed.
- `toml` is a recipe where it has a `kind`, else a configuration of `anytime serve`.
- `text` is not run. With `<!-- output -->` before it, it is what the block before it prints; `...` in it
  stands for anything.
- `<!-- not run: REASON -->` before a block leaves it out, and the tests' summary tells so.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

FENCE = re.compile(r"(?P<indent> *)(?P<fence>```+)(?P<language>[\w-]*)(?P<rest>.*)")
MARKER = re.compile(r" *<!-- (?P<name>output|not run|post)(?:: *(?P<value>.*?))? *-->")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """One fenced block."""

    document: str
    """Path of the document, from the repository's root."""
    line: int
    """Line of the opening fence."""
    language: str
    text: str
    marker: str | None
    """Name of the marker before the block: `output`, `not run` or `post`."""
    value: str
    """What the marker says."""
    output: str | None = None
    """What it prints, where the document shows it."""

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"


def snippets_of(document: str, root: Path) -> list[Snippet]:
    """The blocks of a document in order; an output belongs to the block before it."""
    found: list[Snippet] = []
    for block in _blocks(document, (root / document).read_text(encoding="utf-8").splitlines()):
        if block.marker == "output":
            assert found, f"{block.place}: an output of nothing"
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
