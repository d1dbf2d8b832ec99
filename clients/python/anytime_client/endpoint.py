"""What the twins, sync and async, have in common about the server they talk to. Does no IO."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2

from anytime_client.calls import Call
from anytime_client.connection import AsyncConnection, Connection
from anytime_client.errors import ClientError, ServerUnreachable, StreamInterrupted, TimedOut
from anytime_client.reception import Reception
from anytime_client.retrying import Deadline

DEFAULT_URL = "http://127.0.0.1:8000"
CONNECT_TIMEOUT_S = 5.0
SILENCE_TIMEOUT_S = 60.0
"""The server sends a comment every few seconds; longer silence means that it is gone."""
MAX_RETRIES = 2
UNUSABLE_KEY = "the API key must be of printable ASCII characters"  # it is not shown: it is a secret


def can_be_sent(api_key: str) -> bool:
    """It may stand in a header."""
    return api_key.isascii() and api_key.isprintable() and not api_key.isspace() and api_key != ""


class Endpoint(ABC):
    """A server's address, and how to treat it."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        silence_timeout_s: float = SILENCE_TIMEOUT_S,
        timeout_s: float | None = None,
        max_retries: int = MAX_RETRIES,
    ) -> None:
        """
        Args:
            url: of the server; the `/v1` that OpenAI's SDKs want at its end may be there.
            api_key: sent as `Authorization: Bearer ...`.
            headers: sent with every request; an `Authorization` of theirs outranks the `api_key`.
            connect_timeout_s: how long making a connection may take.
            silence_timeout_s: how long nothing at all may come.
            timeout_s: how long a session may take as a whole, retries included.
            max_retries: how often a request is sent again where nothing can have been sampled: nobody
                answered, or the server refused it with 429 or 503.

        Raises:
            ServerUnreachable: `url` is none.
            ValueError: the key cannot be sent.
        """
        if api_key is not None and not can_be_sent(api_key):
            raise ValueError(UNUSABLE_KEY)
        self.url = url.rstrip("/").removesuffix("/v1")
        self.max_retries = max_retries
        self.timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._silence_timeout_s = silence_timeout_s
        if not self.url.lower().startswith(("http://", "https://")):
            raise ServerUnreachable(f"{url!r} is no address: it must begin with http:// or https://")
        try:
            self._base_url = httpx2.URL(self.url)
        except httpx2.InvalidURL as error:
            raise ServerUnreachable(f"{url!r} is no address: {error}") from error
        self._headers = httpx2.Headers({} if api_key is None else {"Authorization": f"Bearer {api_key}"})
        self._headers.update(headers)
        self._prepare()

    @abstractmethod
    def _prepare(self) -> None:
        """Make the HTTP client."""

    def _http_options(self) -> dict[str, Any]:
        # A stream holds its connection for as long as it lasts: no number of them is too many.
        limits = httpx2.Limits(max_connections=None)
        return {"base_url": self._base_url, "headers": self._headers, "limits": limits}

    def _request_options(self, call: Call[Any], deadline: Deadline) -> dict[str, Any]:
        timeout = httpx2.Timeout(
            min(self._silence_timeout_s, deadline.left_s),
            connect=min(self._connect_timeout_s, deadline.left_s),
        )
        # Its pieces are taken as they come.
        headers = {"Accept-Encoding": "identity"} if call.streams else {}
        return {
            "method": call.method,
            "url": call.path,
            "json": call.body,
            "headers": headers,
            "timeout": timeout,
        }

    def _deadline(self, timeout_s: float | None) -> Deadline:
        return Deadline(self.timeout_s if timeout_s is None else timeout_s)

    @contextmanager
    def _noting_failure(
        self, reception: Reception, connection: Connection | AsyncConnection
    ) -> Generator[None]:
        """Keeps what a session fails by; that it breaks off after it was left is no failure."""
        try:
            yield
        except ClientError as error:
            if isinstance(error, TimedOut) or not connection.left.is_set():
                reception.failure = error
                raise
        except (asyncio.CancelledError, KeyboardInterrupt):
            reception.failure = reception.interrupted("reading the stream was broken off")
            raise

    @contextmanager
    def _translating(
        self, deadline: Deadline, interrupted: Callable[[str], StreamInterrupted] = StreamInterrupted
    ) -> Generator[None]:
        """Turns the HTTP library's errors into ours, and any break after the deadline into `TimedOut`."""
        try:
            yield
        except (httpx2.RequestError, StreamInterrupted, TimeoutError) as error:
            if deadline.has_passed:
                raise TimedOut(f"{self.url} took longer than it was given") from error
            if isinstance(error, StreamInterrupted):
                raise
            if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
                raise ServerUnreachable(
                    f"no server answers at {self.url}; start one with: anytime serve"
                ) from error
            if isinstance(error, httpx2.ReadTimeout):
                raise interrupted(f"{self.url} has been silent for {self._silence_timeout_s:g} s") from error
            raise interrupted(f"the connection to {self.url} broke: {error}") from error
