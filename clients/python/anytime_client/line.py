"""The connection under a stream, which can be dropped, and what both kinds of stream tell of themselves."""

from __future__ import annotations

import contextlib
import socket

import httpx2

from anytime_client.events import AnswerDone
from anytime_client.reception import Reception


class Line:
    """A connection that one thread or task waits on, and any other can drop."""

    def __init__(self) -> None:
        self.was_left = False
        """By its own user: that it breaks off then is no error."""
        self._socket: socket.socket | None = None

    def connect(self, response: httpx2.Response) -> None:
        """This is the response that comes over it."""
        self._socket = response.extensions["network_stream"].get_extra_info("socket")
        if self.was_left:
            self.drop()

    def drop(self) -> None:
        """End the connection; who waits on it wakes up."""
        if self._socket is not None:
            # Closing it would not wake a thread that reads from it.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def leave(self) -> None:
        """Drop it because nobody wants to hear the rest."""
        self.was_left = True
        self.drop()


class StreamState:
    """What has come of a session so far."""

    def __init__(self, reception: Reception, line: Line) -> None:
        self._reception = reception
        self._line = line

    @property
    def id(self) -> str | None:
        """Names the session; None until `started` has come."""
        return self._reception.id

    @property
    def thinking(self) -> str:
        """The thinking that has come so far."""
        return self._reception.thinking

    @property
    def answers(self) -> list[AnswerDone]:
        """The answers that have come whole, in the order in which they came."""
        return list(self._reception.answers)

    def _started_id(self) -> str:
        if (session_id := self._reception.id) is None:
            raise RuntimeError("the session has not started: its first event has not been read")
        return session_id
