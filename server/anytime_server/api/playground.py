"""Serves the playground: a page at `/` and its files. The page uses the API like any other client."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parents[1] / "playground"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def router() -> APIRouter:
    """The page and its files."""
    routes = APIRouter(include_in_schema=False)
    files = StaticFiles(directory=FOLDER)

    async def file(name: str, request: Request) -> Response:
        response = await files.get_response(name, request.scope)
        response.headers.update(HEADERS)
        return response

    @routes.head("/")
    @routes.get("/")
    async def page(request: Request) -> Response:
        return await file("index.html", request)

    @routes.head("/playground/{name}")
    @routes.get("/playground/{name}")
    async def part(name: str, request: Request) -> Response:
        return await file(name, request)

    return routes
