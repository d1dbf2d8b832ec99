"""Chat templates: read from a package, with the package's changes undone, or our own.

llama.cpp's copies of templates differ in places from what the model's authors publish; `edits` undo that, or
make the template of a sister model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.families.packages import CACHE

OWN = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Template:
    """Where a chat template comes from."""

    origin: Literal["llama.cpp", "vllm", "tokenizer", "own"]
    name: str  # of the file without suffix, or of the tokenizer's package
    edits: tuple[tuple[str, str], ...] = ()  # old and new text
    note: str = ""  # why it was edited

    @property
    def provenance(self) -> str:
        if self.origin == "own":
            return "written for the test"
        return f"real, edited: {self.note}" if self.edits else "real"

    def read(self) -> str:
        """The template's text."""
        text = self.published()
        for old, new in self.edits:
            if old not in text:
                raise ValueError(f"template {self.name} lacks: {old}")
            text = text.replace(old, new)
        return text

    def published(self) -> str:
        if self.origin == "tokenizer":
            settings = json.loads((CACHE / f"tokenizer-{self.name}" / "tokenizer_config.json").read_text())
            return settings["chat_template"]
        folders = {
            "llama.cpp": CACHE / "llama-cpp-python" / "templates",
            "vllm": CACHE / "vllm",
            "own": OWN,
        }
        return (folders[self.origin] / f"{self.name}.jinja").read_text()


def real(name: str, *edits: tuple[str, str], note: str = "") -> Template:
    """A template out of llama.cpp's collection."""
    return Template("llama.cpp", name, edits, note)


def own(name: str) -> Template:
    """A template of ours, with the markers and the structure that the family's parser expects."""
    return Template("own", name)
