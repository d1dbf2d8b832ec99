"""What can go wrong when talking to a server.

ClientError
├── ServerUnreachable   nobody answers there
├── RequestRefused      the server said no, and why
├── SessionFailed       the stream ended with an error event
└── StreamInterrupted   the stream ended with neither `done` nor `error`
"""

from __future__ import annotations


class ClientError(Exception):
    """Root of the tree."""


class ServerUnreachable(ClientError):
    pass


class RequestRefused(ClientError):
    pass


class SessionFailed(ClientError):
    pass


class StreamInterrupted(ClientError):
    pass
