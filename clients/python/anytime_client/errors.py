"""The errors of the client.

ClientError
├── ServerUnreachable   no connection to the server could be made
├── RequestRefused      the server answered with an HTTP error
├── SessionFailed       the stream ended with an `error` event
├── StreamInterrupted   the connection broke, or the stream ended with neither `done` nor `error`
└── TimedOut            the session took longer than `timeout_s`
"""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anytime_client.events import AnswerDone


class ClientError(Exception):
    """Base class of the client's errors."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are unpickled by calling the class with `args` alone, which lacks the keyword arguments.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class ServerUnreachable(ClientError):
    """No connection to the server could be made. Nothing was sampled."""


class RequestRefused(ClientError):
    """The server answered with an HTTP error. With a status of 4XX or 503 nothing was sampled."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str | None = None,
        field: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """
        Args:
            status: HTTP status.
            code: stable error code; None if the body is not an error of an Anytime server.
            field: dotted path of the invalid request field.
            request_id: id of the request in the server's logs.
            retry_after_s: seconds to wait before the next attempt, from `Retry-After`.
        """
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class SessionFailed(ClientError):
    """The session ended with an `error` event: `cancelled`, `unavailable`, `engine_dead`, ..."""

    def __init__(self, message: str, *, code: str | None, field: str | None = None) -> None:
        """
        Args:
            code: stable error code; None if the event has none.
            field: dotted path of the invalid request field.
        """
        super().__init__(message)
        self.code = code
        self.field = field


class StreamInterrupted(ClientError):
    """The stream broke off. The part received until then is valid but incomplete."""

    def __init__(
        self,
        message: str,
        *,
        id: str | None = None,
        thinking: str = "",
        answers: Sequence[AnswerDone] = (),
    ) -> None:
        """
        Args:
            id: of the session; None if `started` was not received.
            thinking: the thinking received so far.
            answers: the complete answers received so far.
        """
        super().__init__(message)
        self.id = id
        self.thinking = thinking
        self.answers = answers


class TimedOut(ClientError):
    """The session took longer than the caller's `timeout_s`. It is cancelled."""
