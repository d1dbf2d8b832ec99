"""The playground's files and their security headers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from anytime_server.api.playground import FOLDER, POLICY

FILES = sorted(path.name for path in FOLDER.iterdir())
TYPES = {
    "html": {"text/html; charset=utf-8"},
    "css": {"text/css; charset=utf-8"},
    "js": {"text/javascript; charset=utf-8", "application/javascript"},
    "svg": {"image/svg+xml"},
}

Start = Callable[..., Any]


async def test_the_page_and_its_files_are_served(served: Start) -> None:
    server = await served()
    page = await server.http.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] in TYPES["html"]
    for name in FILES:
        part = await server.http.get(f"/playground/{name}")
        assert part.status_code == 200
        assert part.headers["content-type"] in TYPES[name.rpartition(".")[2]]
        assert part.headers["content-security-policy"] == POLICY
        assert part.headers["x-content-type-options"] == "nosniff"
        assert part.content == (FOLDER / name).read_bytes()
    named = set(re.findall(r'(?:src|href)="playground/(.+?)"', page.text))
    assert named == {"icon.svg", "main.js", "style.css", "theme.js"}
    assert named <= set(FILES)


def test_every_imported_module_exists() -> None:
    for path in FOLDER.glob("*.js"):
        if path.name != "anytime-client.js":
            assert set(re.findall(r'from "\./(.+?)"', path.read_text(encoding="utf-8"))) <= set(FILES)


def test_nothing_is_inline_or_from_another_origin() -> None:
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href)="(?:[a-z]+:|/)', page)
    assert not re.search(r"\s(?:style|on[a-z]+)=|<style|<script>", page)
    assert not re.search(r"url\(|@import", (FOLDER / "style.css").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", ["/", "/playground/main.js"])
async def test_unchanged_files_are_not_sent_again(served: Start, path: str) -> None:
    server = await served()
    first = await server.http.get(path)
    assert first.headers["cache-control"] == "no-cache"
    again = await server.http.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = await server.http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(first.content))


@pytest.mark.parametrize(
    "path", ["nothing.js", "", "..%2fapi%2fapp.py", "%2e%2e%2fapi%2fapp.py", "..%2f..%2f..%2fetc%2fpasswd"]
)
async def test_other_paths_get_404(served: Start, path: str) -> None:
    server = await served()
    response = await server.http.get(f"/playground/{path}")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"


async def test_the_page_cannot_be_posted_to(served: Start) -> None:
    server = await served()
    assert (await server.http.post("/")).status_code == 405


async def test_the_playground_is_not_in_the_openapi_document(served: Start) -> None:
    server = await served()
    paths = (await server.http.get("/openapi.json")).json()["paths"]
    assert "/v1/anytime" in paths
    assert not [path for path in paths if path == "/" or "playground" in path]
