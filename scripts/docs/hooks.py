"""MkDocs hooks: check the generated parts, show Python and TypeScript in tabs, write `openapi.json`."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from textwrap import indent
from typing import Any

import generate
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page

logger = logging.getLogger("mkdocs.hooks")

PAIR = re.compile(
    r"(?P<first>```python\n(?:(?!```).)*\n```)\n\n(?P<second>```ts\n(?:(?!```).)*\n```)", re.DOTALL
)


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    if generate.regenerated(markdown) != markdown:
        logger.warning("%s has generated parts that are out of date: run make docs-parts", page.file.src_uri)
    return PAIR.sub(_tabs, markdown)


def on_post_build(*, config: MkDocsConfig, **_: Any) -> None:
    Path(config.site_dir, "openapi.json").write_text(
        json.dumps(generate.document(), indent=2, ensure_ascii=False), encoding="utf-8"
    )


def _tabs(pair: re.Match[str]) -> str:
    """A Python block and the TypeScript block after it, as two tabs."""
    titles = zip(("Python", "TypeScript"), (pair["first"], pair["second"]), strict=True)
    return "\n\n".join(f'=== "{title}"\n\n{indent(block, "    ")}' for title, block in titles)
