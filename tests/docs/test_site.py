"""The documentation's site, as it is built: nothing leads nowhere, and no other host is asked."""

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
"""What a browser loads to show a page, by element."""


@dataclass(slots=True)
class _Page(HTMLParser):
    """What a page has and names."""

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
    """By address."""
    found: dict[str, _Page] = {}
    for path in site.rglob("*.html"):
        if path.name == "404.html":  # is shown at any address, so its own are absolute
            continue
        page = found[SITE + path.relative_to(site).as_posix().removesuffix("index.html")] = _Page()
        page.feed(path.read_text(encoding="utf-8"))
    return found


def _named(pages: dict[str, _Page]) -> Iterator[tuple[str, str]]:
    """Every address that a page names, in full, with the page's own."""
    for address, page in pages.items():
        for one in page.links + page.fetched:
            if not one.startswith(("data:", "mailto:")):
                yield address, urljoin(address, one)


def test_all_pages_are_there(pages: dict[str, _Page]) -> None:
    assert len(pages) == len(list((ROOT / "docs").rglob("*.md")))


def test_every_internal_link_and_anchor_leads_somewhere(site: Path, pages: dict[str, _Page]) -> None:
    for page, target in _named(pages):
        if not target.startswith(SITE):
            continue
        address, _, anchor = target.partition("#")
        path = site / unquote(urlsplit(address).path).lstrip("/")
        assert path.exists(), f"{page} names {target}"
        if anchor:
            assert unquote(anchor) in pages[address].anchors, f"{page} names {target}"


def test_no_other_host_is_asked(site: Path, pages: dict[str, _Page]) -> None:
    for address, page in pages.items():
        for one in page.fetched:
            assert one.startswith("data:") or urljoin(address, one).startswith(SITE), f"{address} needs {one}"
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert "@import" not in text, sheet
        assert "url(http" not in text, sheet
        assert "url(//" not in text, sheet


def test_the_interface_is_there_for_programs(site: Path) -> None:
    document = json.loads((site / "openapi.json").read_text(encoding="utf-8"))
    assert "/v1/anytime" in document["paths"]


def test_same_program_in_two_languages_is_in_tabs(site: Path) -> None:
    html = (site / "clients" / "index.html").read_text(encoding="utf-8")
    assert html.count(">TypeScript</label>") == html.count(">Python</label>") > 0
    assert "```" not in html
