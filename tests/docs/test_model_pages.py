"""Runs every code block of the pages on models, each page with a server on real vLLM."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import httpx2
import huggingface_hub.constants
import pytest
from anytime_server.cli import main
from anytime_server.engine.vllm.pass_through import typed_values
from anytime_server.server.settings import load_settings

from ..families.packages import missing
from ..prefork import preforked
from ..servers import RealServer, started
from .commands import commands_of
from .model_pages import MODEL_PAGES, write_model
from .outputs import matches
from .running import ROOT, copy_of_root, run_snippet
from .serve_briefly import SERVE_BRIEFLY, serve_briefly
from .snippets import Snippet, snippets_of

TINY = "docs/models/unknown-model.md"
"""The page whose model starts in seconds; it runs on every push."""
INSPECT, SERVE = "anytime inspect ", "anytime serve "


@dataclass(slots=True)
class Page:
    """A page, and what its blocks run on."""

    document: str
    folder: Path
    model: Callable[[bool], Path]
    """Folder of its model, with weights or without."""
    server: RealServer | None = None

    @property
    def name(self) -> str:
        """The model's name on the hub."""
        return MODEL_PAGES[self.document][0]

    def options_of(self, command: str) -> list[str]:
        """Options of an `anytime serve` command, with the folder in place of the name on the hub."""
        options = shlex.split(command)[2:]
        at = options.index("--model") + 1
        options[at] = str(self.model(True))
        return [*options, "--name", self.name]

    def serve(self) -> RealServer:
        """The server that the first `anytime serve` of the page starts."""
        if self.server is None:
            process = preforked().start(
                ["--port", "0", *self.options_of(first_serve(self.document))], folder=self.folder
            )
            self.server = started(process)
        return self.server


def blocks(document: str) -> list[Snippet]:
    return snippets_of(document, ROOT)


def commands_beginning(snippet: Snippet, beginning: str) -> list[str]:
    """The commands of a block if all begin so; else none."""
    if snippet.language not in ("", "bash", "console", "sh"):
        return []
    commands = [command.text for command in commands_of(snippet.text)]
    return commands if all(command.startswith(beginning) for command in commands) else []


def first_serve(document: str) -> str:
    return next(command for block in blocks(document) for command in commands_beginning(block, SERVE))


def is_quick(snippet: Snippet) -> bool:
    if serves := commands_beginning(snippet, SERVE):  # vLLM reads the options of the others, once imported
        return snippet.document == TINY and serves == [first_serve(TINY)]
    return snippet.document == TINY or bool(commands_beginning(snippet, INSPECT))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Iterator[Callable[..., Page]]:
    """Returns a page. The server of the page before is stopped, and its models stay."""
    made: dict[str, Page] = {}

    def of(document: str) -> Page:
        for other in made.values():
            if other.document != document and other.server is not None:
                other.server.stop()
                other.server = None
        if document not in made:
            folder = copy_of_root(tmp_path_factory.mktemp("root"))
            for block in blocks(document):
                if block.marker == "file":
                    (folder / block.value).write_text(block.text, encoding="utf-8")

            @cache
            def model(runnable: bool) -> Path:
                hub = tmp_path_factory.mktemp("hub")
                return write_model(document, hub, tiny_checkpoint=tiny_checkpoint, runnable=runnable)

            made[document] = Page(document=document, folder=folder, model=model)
        return made[document]

    yield of
    for page in made.values():
        if page.server is not None:
            page.server.stop()


@pytest.mark.parametrize(
    "snippet",
    [
        pytest.param(block, id=block.location, marks=() if is_quick(block) else pytest.mark.nightly)
        for document in MODEL_PAGES
        for block in blocks(document)
    ],
)
def test_snippet(snippet: Snippet, pages: Callable[..., Page], monkeypatch: pytest.MonkeyPatch) -> None:
    if snippet.document != TINY and missing():
        pytest.skip("no tokenizers: scripts/setup-families.sh")
    assert snippet.marker in (None, "file"), "every block of these pages runs"
    page = pages(snippet.document)
    if commands_beginning(snippet, INSPECT):
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(page.model(False).parents[2]))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        monkeypatch.chdir(page.folder)
        for command in commands_of(snippet.text):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as ended:
                main(shlex.split(command.text)[1:])
            assert not ended.value.code
            assert command.output, "an inspection shows its output"
            assert matches(command.output, printed.getvalue()), printed.getvalue()
    elif serves := commands_beginning(snippet, SERVE):
        for command in serves:
            if command == first_serve(snippet.document):
                _check_server(page)
            else:
                options = page.options_of(command)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of vLLM and its libraries
                    typed_values(load_settings(options).vllm.passed_through)
                serve_briefly(f"{SERVE_BRIEFLY} {shlex.join(options)}", page.folder)
    else:
        strict = replace(snippet, text=re.sub(r"^curl ", "curl --fail-with-body ", snippet.text, flags=re.M))
        run_snippet(strict, page.folder, page.serve().url, continuation=lambda: "")


def _check_server(page: Page) -> None:
    """The first command serves the model under its name, and the model thinks."""
    [model] = httpx2.get(f"{page.serve().url}/v1/models").json()["data"]
    assert model["id"] == page.name
    assert model["anytime"]["think_start"]


def test_every_page_on_a_model_is_run() -> None:
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "models").glob("*.md")}
    assert pages == MODEL_PAGES.keys()


@pytest.mark.parametrize("document", MODEL_PAGES)
def test_every_page_serves_and_inspects_its_model(document: str) -> None:
    inspected = [command for block in blocks(document) for command in commands_beginning(block, INSPECT)]
    name = MODEL_PAGES[document][0]
    assert any(command.startswith(f"{INSPECT}{name}") for command in inspected)
    assert f"--model {name}" in first_serve(document)
