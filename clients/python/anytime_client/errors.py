"""What can go wrong when talking to a server.

ClientError
├── ServerUnreachable   nobody answers there
├── RequestRefused      the server said no, and why
├── SessionFailed       the stream ended with an error event
├── StreamInterrupted   the connection broke, or the stream ended with neither `done` nor `error`
└── TimedOut            it took longer than the caller would wait
"""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anytime_client.events import AnswerDone


class ClientError(Exception):
    """Root of the tree."""

    def __reduce__(self) -> tuple[Any, ...]:
        # As it is pickled by default, it would be made anew by a call without its keywords.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class ServerUnreachable(ClientError):
    """No connection could be made. Nothing was sampled."""


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
            code: stable, for programs; None where the answer was not in the server's form.
            field: dotted path of the request field at fault.
            request_id: what the server's logs know the request by.
            retry_after_s: how long the server asks to be left alone.
        """
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class SessionFailed(ClientError):
    """The session ended with an error event: `cancelled`, `unavailable`, `engine_dead`, ..."""

    def __init__(self, message: str, *, code: str | None, field: str | None = None) -> None:
        """
        Args:
            code: stable, for programs; None where the server gave none.
            field: dotted path of the request field at fault.
        """
        super().__init__(message)
        self.code = code
        self.field = field


class StreamInterrupted(ClientError):
    """The stream broke off. What had come by then was not wrong, but it is not whole."""

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
            id: of the session; None if not even `started` had come.
            thinking: the text of it that had come.
            answers: those that had come whole.
        """
        super().__init__(message)
        self.id = id
        self.thinking = thinking
        self.answers = answers


class TimedOut(ClientError):
    """The time that the caller gave was over. The session is cancelled."""
