"""Chunks of OpenAI's streams, of chat completions and of completions of texts."""

from __future__ import annotations

import time
from typing import Any

from pydantic_core import to_json

from anytime_server import __version__
from anytime_server.session import events

Chunk = dict[str, Any]
DONE: Chunk = {}
"""Stands for `[DONE]`, which ends every stream."""


def head(started: events.Started, kind: str) -> Chunk:
    """The fields of every chunk.

    Args:
        kind: the `object`.
    """
    return {
        "id": started.id,
        "object": kind,
        "created": int(time.time()),
        "model": started.model,
        "system_fingerprint": f"anytime-{__version__}",
    }


def frame(chunk: Chunk) -> bytes:
    """A chunk as server-sent event."""
    return b"data: %s\n\n" % (b"[DONE]" if chunk is DONE else to_json(chunk))
