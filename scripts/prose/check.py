"""The prose linter: reports the phrases that `rules.toml` bans, in the whole repository.

It reads Markdown and, in code, comments, docstrings, texts of four words or more and the names of tests. It
knows no rule: rules, names of files and exceptions are data.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments.lexers import get_lexer_for_filename
from pygments.token import Comment, Name, String

ROOT = Path(__file__).parents[2]
RULES = tomllib.loads(Path(__file__).with_name("rules.toml").read_text(encoding="utf-8"))
PATTERNS = {
    name: re.compile(rule["pattern"].replace(" ", r"\s+"))  # a phrase may be broken over lines
    for name, rule in RULES["rule"].items()
}
GENERATED = re.compile(r"<!-- generated: .*?<!-- end of ", re.DOTALL)
CODE = re.compile(r"`[^`]+`")
MARKERS = re.compile(r'^[ \t]*(?:"{3}|#+:?|//+|/?\*+/?)|\*/$|"{3}$', re.MULTILINE)
BETWEEN_SENTENCES = re.compile(
    r"(?<=[.!?])[\"')*_]*\s+(?=[^a-z\s])"  # after a full stop
    r"|\n\s*\n|\n(?=\s*(?:[-*]|\d+\.)\s)|\n(?=\s*\w+: )"  # before a paragraph, an item, an entry
)
KINDS = (Comment.Hashbang, Comment, String.Doc, String, Name.Function)


class Block(NamedTuple):
    """A paragraph, a comment, a docstring, a text or the name of a test."""

    line: int
    text: str


def findings(text: str, path: str) -> Iterator[str]:
    """Each banned phrase of a file as `path:line: rule: phrase (what to write instead)`, in order."""
    for block in markdown(text) if path.endswith(".md") else source(text, path):
        prose = CODE.sub(lambda code: re.sub(r"[^\n`]", "x", code[0]), block.text)
        for start, sentence in sentences(prose):
            for name, pattern in PATTERNS.items():
                for found in pattern.finditer(sentence):
                    line = block.line + prose.count("\n", 0, start + found.start())
                    phrase = " ".join(found[0].split())
                    yield f"{path}:{line}: {name}: {phrase!r} ({RULES['rule'][name]['instead']})"


def sentences(prose: str) -> Iterator[tuple[int, str]]:
    """Each sentence with the offset at which it starts."""
    starts = [0, *(end.end() for end in BETWEEN_SENTENCES.finditer(prose))]
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        sentence = prose[start:end]
        yield start + len(sentence) - len(sentence.lstrip(" \n-*\"'(")), sentence.strip(" \n-*\"'(")


def markdown(text: str) -> Iterator[Block]:
    """Paragraphs, headings and cells of tables, without the parts that are generated from code."""
    text = GENERATED.sub(lambda part: "\n" * part[0].count("\n"), text)
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "inline" and token.map:
            yield Block(token.map[0] + 1, "".join(map(_words, token.children or ())))


def _words(token: Token) -> str:
    return {"softbreak": "\n", "code_inline": f"`{token.content}`"}.get(token.type, token.content)


def source(text: str, path: str) -> Iterator[Block]:
    """Docstrings, comments (whole lines in a row are one), texts and the names of tests."""
    lines = text.split("\n")
    tokens = get_lexer_for_filename(path, stripnl=False, ensurenl=False).get_tokens(text)
    comment, line = Block(0, ""), 1
    for kind, group in groupby(tokens, lambda token: next((k for k in KINDS if token[0] in k), None)):
        value = "".join(piece for _, piece in group)
        if kind is Comment:
            if line == comment.line + comment.text.count("\n") + 1 and MARKERS.match(lines[line - 1]):
                comment = Block(comment.line, f"{comment.text}\n{MARKERS.sub('', value.rstrip())}")
            else:
                yield comment
                comment = Block(line, MARKERS.sub("", value.rstrip()))
        elif kind is String.Doc or (kind is String and len(value.split()) >= 4):
            yield Block(line, MARKERS.sub("", value))
        elif kind is Name.Function and value.startswith("test_"):
            yield Block(line, value[len("test_") :].replace("_", " ").capitalize() + ".")
        line += value.count("\n")
    yield comment


def problems(files: dict[str, str], exceptions: list[str]) -> list[str]:
    """Findings in files that no exception names, and exceptions that except nothing."""
    found = {path: list(findings(text, path)) for path, text in files.items()}
    excepted = {path: prefix for path in found for prefix in exceptions if path.startswith(prefix)}
    used = {prefix for path, prefix in excepted.items() if found[path]}
    banned = [finding for path in found if path not in excepted for finding in found[path]]
    unused = [prefix for prefix in exceptions if prefix not in used]
    return banned + [f"the exception {prefix!r} excepts nothing" for prefix in unused]


def main() -> int:
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    paths = [path for path in listed if path.endswith(tuple(RULES["files"])) and (ROOT / path).is_file()]
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in paths}
    found = problems(texts, RULES["exceptions"])
    print("\n".join(found) or "prose: no banned phrase")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
