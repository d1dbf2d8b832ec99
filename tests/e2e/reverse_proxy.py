"""A reverse proxy that serves the server under a path prefix."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route


@asynccontextmanager
async def behind_a_prefix(url: str, bodies: list[Any]) -> AsyncGenerator[str, None]:
    """Serve the server at `url` under a path, and append the bodies of requests to `bodies`."""
    client = httpx2.AsyncClient(base_url=url, timeout=60)

    async def forward(request: Request) -> StreamingResponse:
        body = await request.body()
        if body:
            bodies.append(json.loads(body))
        headers = {k: v for k, v in request.headers.items() if k in ("content-type", "accept")}
        path = f"/{request.path_params['path']}"
        response = await client.send(
            client.build_request(request.method, path, content=body, headers=headers), stream=True
        )
        kept = {k: v for k, v in response.headers.items() if k != "content-length"}
        return StreamingResponse(response.aiter_bytes(), response.status_code, kept)

    route = Route("/some/where/{path:path}", forward, methods=["GET", "POST", "DELETE"])
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=[route]), log_level="warning"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/some/where/"
    finally:
        server.should_exit = True
        await serving
        await client.aclose()
