"""The built documentation site: its links work, and it loads nothing from other hosts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
SITE = "http://site/"
FETCHED = {"img": "src", "script": "src", "iframe": "src", "source": "src", "link": "href"}
"""The attribute with an address that a browser loads, by element."""


@dataclass(slots=True)
class _Page(HTMLParser):
    """The anchors of a page, and the addresses in it."""

    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        HTMLParser.__init__(self)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if (address := given.get(FETCHED.get(tag, ""))) is not None:
            self.fetched.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, _Page]:
    """The pages of the site, by address."""
    found: dict[str, _Page] = {}
    for path in site.rglob("*.html"):
        if path.name == "404.html":  # shown at any address, so its links are absolute
            continue
        page = found[SITE + path.relative_to(site).as_posix().removesuffix("index.html")] = _Page()
        page.feed(path.read_text(encoding="utf-8"))
    return found


def _addresses(pages: dict[str, _Page]) -> Iterator[tuple[str, str]]:
    """Pairs of a page's address and an absolute address in it."""
    for address, page in pages.items():
        for target in page.links + page.fetched:
            if not target.startswith(("data:", "mailto:")):
                yield address, urljoin(address, target)


def test_every_document_has_a_page(pages: dict[str, _Page]) -> None:
    assert len(pages) == len(list((ROOT / "docs").rglob("*.md")))


def test_internal_links_and_anchors_exist(site: Path, pages: dict[str, _Page]) -> None:
    for page, target in _addresses(pages):
        if not target.startswith(SITE):
            continue
        address, _, anchor = target.partition("#")
        path = site / unquote(urlsplit(address).path).lstrip("/")
        assert path.exists(), f"{page} links to {target}"
        if anchor:
            assert unquote(anchor) in pages[address].anchors, f"{page} links to {target}"


def test_pages_load_nothing_from_other_hosts(site: Path, pages: dict[str, _Page]) -> None:
    for address, page in pages.items():
        for target in page.fetched:
            is_own = target.startswith("data:") or urljoin(address, target).startswith(SITE)
            assert is_own, f"{address} loads {target}"
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert "@import" not in text, sheet
        assert "url(http" not in text, sheet
        assert "url(//" not in text, sheet


def test_the_site_has_the_openapi_document(site: Path) -> None:
    document = json.loads((site / "openapi.json").read_text(encoding="utf-8"))
    assert "/v1/anytime" in document["paths"]


def test_python_and_typescript_are_in_tabs(site: Path) -> None:
    html = (site / "clients" / "index.html").read_text(encoding="utf-8")
    assert html.count(">TypeScript</label>") == html.count(">Python</label>") > 0
    assert "```" not in html
