"""Ctrl-C: the first one during the thinking means "answer now"; any other ends the program."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Self

from anytime_client.client import Stream
from anytime_client.errors import ClientError
from anytime_client.events import AnswerStarted, Event, Started


class InterruptHandler:
    """Handles SIGINT while a stream is read."""

    def __init__(self, stream: Stream, on_answer_now: Callable[[], None]) -> None:
        self._stream = stream
        self._on_answer_now = on_answer_now
        self._can_answer_now = False
        """The session is thinking, and "answer now" has not been sent yet."""

    def __enter__(self) -> Self:
        self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def observe(self, event: Event) -> None:
        """Follow the session: whether it is thinking."""
        match event:
            case Started():
                self._can_answer_now = True
            case AnswerStarted(provisional=False):
                self._can_answer_now = False
            case _:
                pass

    def _handle(self, signal_number: int, frame: FrameType | None) -> None:
        if not self._can_answer_now:
            raise KeyboardInterrupt
        self._can_answer_now = False
        self._on_answer_now()
        # In a thread: the code that the signal interrupted may hold locks that the request needs.
        threading.Thread(target=self._answer_now, daemon=True).start()

    def _answer_now(self) -> None:
        # Meanwhile the session may have ended, and its client may be closed.
        with contextlib.suppress(ClientError, RuntimeError):
            self._stream.answer_now()
