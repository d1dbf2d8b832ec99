"""Runs every code block of the documentation: commands, programs, requests and configurations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from ..servers import RealServer
from .model_pages import MODEL_PAGES
from .running import MESSAGES, ROOT, copy_of_root, run_snippet
from .snippets import Snippet, snippets_of

DOCUMENTS = [
    "README.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "examples").rglob("README.md")),
]
"""The TypeScript client's tests run its README, and `test_model_pages.py` the pages on models."""

SNIPPETS = [
    snippet
    for document in DOCUMENTS
    if document not in MODEL_PAGES
    for snippet in snippets_of(document, ROOT)
]


@pytest.fixture(scope="module")
def root_copy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns a folder for each document: links to the files of the repository's root, without `runs/`."""
    folders: dict[str, Path] = {}

    def of(document: str) -> Path:
        if document not in folders:
            folders[document] = copy_of_root(tmp_path_factory.mktemp("root"))
        return folders[document]

    return of


@pytest.fixture(scope="module")
def continuation(demo_server: RealServer) -> str:
    """The continuation token of truncated thinking on `MESSAGES`."""
    request = {"messages": MESSAGES, "budget": 2, "thinking": {"seed": 4}, "stream": False}
    return httpx2.post(f"{demo_server.url}/v1/anytime", json=request).json()["continuation"]


def is_nightly(snippet: Snippet) -> bool:
    """Whether it runs only with `--nightly`: long commands, and those that repeat a measurement."""
    return snippet.marker == "nightly" or (
        snippet.document == "docs/results.md" and snippet.marker != "not run"
    )


@pytest.mark.parametrize(
    "snippet",
    [
        pytest.param(
            snippet,
            id=snippet.location,
            marks=[pytest.mark.nightly] if is_nightly(snippet) else [],
        )
        for snippet in SNIPPETS
    ],
)
def test_snippet(
    snippet: Snippet,
    demo_server: RealServer,
    root_copy: Callable[[str], Path],
    request: pytest.FixtureRequest,
) -> None:
    if snippet.marker in ("not run", "nightly"):
        assert snippet.value, "a block that is not always run needs a reason"
    if snippet.marker == "not run":
        pytest.skip(snippet.value)
    run_snippet(
        snippet,
        root_copy(snippet.document),
        demo_server.url,
        continuation=lambda: request.getfixturevalue("continuation"),
    )
