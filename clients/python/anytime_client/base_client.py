"""The base of `Client` and `AsyncClient`: address, settings, translation of errors. Does no IO."""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2

from anytime_client.connection import AsyncConnection, Connection
from anytime_client.errors import ClientError, ServerUnreachable, StreamInterrupted, TimedOut
from anytime_client.operations import Operation
from anytime_client.retry import Deadline
from anytime_client.stream_state import StreamState

DEFAULT_URL = "http://127.0.0.1:8000"
CONNECT_TIMEOUT_S = 5.0
SILENCE_TIMEOUT_S = 60.0
"""The server sends a comment every few seconds; after a longer silence the connection is considered dead."""
MAX_RETRIES = 2
# Does not show the key: it is a secret.
INVALID_API_KEY = "the API key must consist of printable ASCII characters"


def is_valid_api_key(api_key: str) -> bool:
    """Whether the key can be sent in an HTTP header."""
    return api_key.isascii() and api_key.isprintable() and not api_key.isspace() and api_key != ""


class BaseClient(ABC):
    """The settings of a client."""

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
            url: address of the server; may end in `/v1`, as OpenAI's SDKs require.
            api_key: sent as `Authorization: Bearer ...`.
            headers: sent with every request; an `Authorization` header overrides `api_key`.
            connect_timeout_s: maximum seconds to make a connection.
            silence_timeout_s: maximum seconds of a stream without receiving a byte; maximum seconds until the
                beginning of a stream, and of any other response.
            timeout_s: maximum seconds of a whole session or another call, retries included.
            max_retries: how often a request is sent again if nothing can have been sampled: no connection
                was made, or the server refused the request with 429 or 503.

        Raises:
            ServerUnreachable: `url` is not a valid address.
            ValueError: `api_key` cannot be sent in a header.
        """
        if api_key is not None and not is_valid_api_key(api_key):
            raise ValueError(INVALID_API_KEY)
        self.url = url.rstrip("/").removesuffix("/v1")
        self.max_retries = max_retries
        self.timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._silence_timeout_s = silence_timeout_s
        if not self.url.lower().startswith(("http://", "https://")):
            raise ServerUnreachable(f"{url!r} is not a valid address: it must begin with http:// or https://")
        try:
            self._base_url = httpx2.URL(self.url)
        except httpx2.InvalidURL as error:
            raise ServerUnreachable(f"{url!r} is not a valid address: {error}") from error
        self._headers = httpx2.Headers({} if api_key is None else {"Authorization": f"Bearer {api_key}"})
        self._headers.update(headers)
        self._create_http_client()

    @abstractmethod
    def _create_http_client(self) -> None: ...

    def _http_options(self) -> dict[str, Any]:
        # No limit on connections: a stream holds its connection for as long as it lasts.
        limits = httpx2.Limits(max_connections=None)
        return {"base_url": self._base_url, "headers": self._headers, "limits": limits}

    def _request_options(
        self, operation: Operation[Any], deadline: Deadline, read_timeout: float
    ) -> dict[str, Any]:
        timeout = httpx2.Timeout(read_timeout, connect=min(self._connect_timeout_s, deadline.remaining_s))
        # A stream's chunks are read raw, so they must not be compressed.
        headers = {"Accept-Encoding": "identity"} if operation.streams else {}
        return {
            "method": operation.method,
            "url": operation.path,
            "json": operation.body,
            "headers": headers,
            "timeout": timeout,
        }

    def _response_deadline(self, deadline: Deadline) -> Deadline:
        """The time at which a stream must have begun, or another response ended."""
        return Deadline(min(self._silence_timeout_s, deadline.remaining_s))

    def _deadline(self, timeout_s: float | None) -> Deadline:
        return Deadline(self.timeout_s if timeout_s is None else timeout_s)

    @contextmanager
    def _recording_failure(
        self, state: StreamState, connection: Connection | AsyncConnection
    ) -> Generator[None]:
        """Store the error that ends a session; after an abort a broken connection is not an error."""
        try:
            yield
        except ClientError as error:
            if isinstance(error, TimedOut) or not connection.aborted.is_set():
                state.failure = error
                raise
        except (asyncio.CancelledError, KeyboardInterrupt):
            state.failure = state.interrupted("reading the stream was cancelled")
            raise

    @contextmanager
    def _translating_errors(
        self, deadline: Deadline, interrupted: Callable[[str], StreamInterrupted] | None = None
    ) -> Generator[None]:
        """Turn the HTTP library's errors into ours, and any of them after the deadline into `TimedOut`.

        Args:
            interrupted: creates the error of a stream that has begun.
        """
        create = interrupted or StreamInterrupted
        try:
            yield
        except (httpx2.RequestError, StreamInterrupted, TimeoutError) as error:
            if deadline.has_passed:
                raise TimedOut(f"{self.url} took longer than the time-out") from error
            if isinstance(error, StreamInterrupted):
                raise
            if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
                raise ServerUnreachable(_unreachable(self.url, error)) from error
            if isinstance(error, httpx2.ReadTimeout | TimeoutError):
                late = "has been silent for" if interrupted else "gave no complete response for"
                raise create(f"{self.url} {late} {self._silence_timeout_s:g} s") from error
            raise create(f"the connection to {self.url} broke: {error}") from error


def _unreachable(url: str, error: BaseException) -> str:
    """Why no connection could be made, from the exception or one of its causes."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = f"the certificate of {url} is not trusted: {cause.verify_message}"
        return f"{reason}; the environment variable SSL_CERT_FILE names a file of trusted certificates"
    if cause is not None:
        return f"no TLS connection to {url}: {(cause.reason or str(cause)).lower().replace('_', ' ')}"
    return f"no server answers at {url}; start one with: anytime serve"
