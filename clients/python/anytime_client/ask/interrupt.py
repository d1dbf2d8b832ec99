"""Ctrl-C: the first one while it thinks means "answer now", any other ends the program."""

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


class Interrupt:
    """Listens for it while a stream is read."""

    def __init__(self, stream: Stream, when_asked: Callable[[], None]) -> None:
        self._stream = stream
        self._when_asked = when_asked
        self._can_be_asked = False
        """It thinks, and was not asked for its answer yet."""

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def saw(self, event: Event) -> None:
        """This event has come."""
        match event:
            case Started():
                self._can_be_asked = True
            case AnswerStarted(provisional=False):
                self._can_be_asked = False
            case _:
                pass

    def _interrupted(self, signal_number: int, frame: FrameType | None) -> None:
        if not self._can_be_asked:
            raise KeyboardInterrupt
        self._can_be_asked = False
        self._when_asked()
        # Not from here: what was interrupted may hold the locks that asking needs.
        threading.Thread(target=self._ask, daemon=True).start()

    def _ask(self) -> None:
        # The stream may have ended meanwhile, and its client may be closed.
        with contextlib.suppress(ClientError, RuntimeError):
            self._stream.answer_now()
