"""A session with a server: its events as they come, and the button to press."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import httpx2

from anytime_client import sse
from anytime_client.errors import RequestRefused, ServerUnreachable, SessionFailed, StreamInterrupted

CONNECT_TIMEOUT_S = 5.0
SILENCE_TIMEOUT_S = 60.0
"""The server sends a comment every few seconds; longer silence means that it is gone."""
RELIED_ON = {
    "started": ("id",),
    "thinking": ("text",),
    "answer.started": ("at_tokens",),
    "answer.delta": ("text",),
    "answer.done": ("finish_reason",),
    "done": ("stop", "timing"),
}
"""Fields that an event of a type must have."""


class Client:
    """Talks to one server.

    >>> with Client("http://127.0.0.1:8000") as client:  # doctest: +SKIP
    ...     for event in client.think("What is 7 - 3 x 2 + 5?", budget=64):
    ...         print(event["type"])
    """

    def __init__(self, url: str = "http://127.0.0.1:8000") -> None:
        """
        Args:
            url: of the server; the `/v1` that OpenAI's SDKs want at its end may be there.

        Raises:
            ServerUnreachable: `url` is none.
        """
        self.url = url.rstrip("/").removesuffix("/v1")
        if not self.url.lower().startswith(("http://", "https://")):
            raise ServerUnreachable(f"{url!r} is no address: it must begin with http:// or https://")
        timeout = httpx2.Timeout(SILENCE_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        try:
            self._http = httpx2.Client(base_url=self.url, timeout=timeout)
        except httpx2.InvalidURL as error:
            raise ServerUnreachable(f"{url!r} is no address: {error}") from error

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a session that is still streaming is cancelled by that."""
        self._http.close()

    def think(
        self, prompt: str, *, budget: int | Mapping[str, int] | None = None, **fields: Any
    ) -> Iterator[dict[str, Any]]:
        """Ask, and yield the session's events until `done`.

        Args:
            prompt: the user's message.
            budget: thinking tokens, or an object with `tokens` and `deadline_ms`.
            fields: further fields of the request body.

        Raises:
            ServerUnreachable, RequestRefused, SessionFailed, StreamInterrupted.
        """
        body = {"messages": [{"role": "user", "content": prompt}], "budget": budget, "stream": True, **fields}
        try:
            with self._http.stream("POST", "/v1/anytime", json=body) as response:
                if response.is_error:
                    response.read()
                    raise RequestRefused(_error_message(response))
                for raw in sse.decode(sse.lines(response.iter_text())):
                    event = _event(raw)
                    if event is None:
                        raise StreamInterrupted(f"{self.url} sent what is no event: {raw.data[:200]!r}")
                    if raw.event == "error":
                        raise SessionFailed(event["error"]["message"])
                    yield event
                    if raw.event == "done":
                        return
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise ServerUnreachable(
                f"no server answers at {self.url}; start one with: anytime serve"
            ) from error
        except httpx2.RequestError as error:
            raise StreamInterrupted(f"the connection to {self.url} broke: {error}") from error
        raise StreamInterrupted("the stream ended before the answer was done")

    def answer_now(self, session_id: str) -> bool:
        """Stop the thinking of a session; False if it was answering already or had ended."""
        try:
            response = self._http.post(f"/v1/anytime/{session_id}/answer")
        except httpx2.RequestError as error:
            raise ServerUnreachable(f"no server answers at {self.url}") from error
        if response.status_code in (404, 409):
            return False
        if response.is_error:
            raise RequestRefused(_error_message(response))
        return True


def _event(raw: sse.ServerSentEvent) -> dict[str, Any] | None:
    """What was sent, if it is an event and has what everyone relies on."""
    try:
        event = json.loads(raw.data)
    except ValueError:
        return None
    if not isinstance(event, dict) or event.get("type") != raw.event:
        return None
    if raw.event == "error":
        error = event.get("error")
        return event if isinstance(error, dict) and "message" in error else None
    return event if all(field in event for field in RELIED_ON.get(raw.event, ())) else None


def _error_message(response: httpx2.Response) -> str:
    try:
        return response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code}"
