"""The base of `Stream` and `AsyncStream`: the part of their session received so far."""

from __future__ import annotations

from anytime_client.events import AnswerDone
from anytime_client.stream_state import StreamState


class BaseStream:
    """Read access to the state of a session."""

    def __init__(self, state: StreamState) -> None:
        self._state = state

    @property
    def id(self) -> str | None:
        """Id of the session; None until `started` has been received."""
        return self._state.id

    @property
    def thinking(self) -> str:
        """The thinking received so far."""
        return self._state.thinking

    @property
    def answers(self) -> list[AnswerDone]:
        """The complete answers received so far, in the order received."""
        return list(self._state.answers)

    def _raise_failure(self) -> None:
        if self._state.failure is not None:
            raise self._state.failure

    def _started_id(self) -> str:
        if (session_id := self._state.id) is None:
            raise RuntimeError("the session has not started: its first event has not been read")
        return session_id
