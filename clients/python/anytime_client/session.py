"""What a stream of either kind tells of its session so far."""

from __future__ import annotations

from anytime_client.events import AnswerDone
from anytime_client.reception import Reception


class Session:
    """What has come of a session."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception

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

    def _raise_failure(self) -> None:
        if self._reception.failure is not None:
            raise self._reception.failure

    def _started_id(self) -> str:
        if (session_id := self._reception.id) is None:
            raise RuntimeError("the session has not started: its first event has not been read")
        return session_id
