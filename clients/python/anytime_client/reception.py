"""A session as it is received: bytes in, events out, and what has come of it so far. Does no IO."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from anytime_client.errors import ClientError, SessionFailed, StreamInterrupted
from anytime_client.events import (
    KNOWN,
    AnswerDone,
    Done,
    Event,
    Result,
    Started,
    Thinking,
    UnknownEvent,
)
from anytime_client.sse import Decoder


class _ErrorDetail(BaseModel):
    message: str
    code: str | None = None
    field: str | None = None


class _Error(BaseModel):
    error: _ErrorDetail


class Reception:
    """Reads one stream, and knows what it has read."""

    def __init__(self) -> None:
        self.started: Started | None = None
        self.answers: list[AnswerDone] = []
        """In the order in which they came."""
        self.done: Done | None = None
        self.failure: ClientError | None = None
        """What it was ended by instead."""
        self._thinking: list[str] = []
        self._decoder = Decoder()

    @property
    def id(self) -> str | None:
        return None if self.started is None else self.started.id

    @property
    def thinking(self) -> str:
        return "".join(self._thinking)

    def read(self, piece: bytes) -> Iterator[Event]:
        """The events that this piece makes whole, up to `done`. Each is known as soon as it is yielded.

        Raises:
            SessionFailed: the session ended with an error.
            StreamInterrupted: this is no stream of a session.
        """
        for sent in self._decoder.feed(piece):
            event = self._event(sent.data)
            self._note(event)
            yield event
            if self.done is not None:
                return

    def interrupted(self, why: str) -> StreamInterrupted:
        """The error to raise where the stream has no end."""
        return StreamInterrupted(why, id=self.id, thinking=self.thinking, answers=tuple(self.answers))

    def result(self) -> Result:
        """The whole session.

        Raises:
            ClientError: it failed.
            StreamInterrupted: it was left before its end.
        """
        if self.failure is not None:
            raise self.failure
        if self.started is None or self.done is None:
            raise self.interrupted("the stream was left before the answer was done")
        answers = sorted(self.answers, key=lambda answer: (not answer.provisional, answer.at_tokens))
        return Result.model_validate(
            {
                **self.done.model_dump(exclude={"type"}),
                "model": self.started.model,
                "thinking": self.thinking,
                "answers": [answer.model_dump(exclude={"type"}) for answer in answers],
            }
        )

    def _event(self, data: str) -> Event:
        try:
            said: Any = json.loads(data)
            kind: Any = said["type"]
            if kind == "error":
                error = _Error.model_validate(said).error
                raise SessionFailed(error.message, code=error.code, field=error.field)
            if known := KNOWN.get(kind):
                return known.model_validate(said)
            if not isinstance(kind, str):
                raise TypeError("a type is a string")
            return UnknownEvent(raw=said)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise self.interrupted(f"the server sent what is no event: {data[:200]!r}") from error

    def _note(self, event: Event) -> None:
        match event:
            case Started():
                self.started = event
            case Thinking():
                self._thinking.append(event.text)
            case AnswerDone():
                self.answers.append(event)
            case Done():
                if self.started is None:
                    raise self.interrupted("the answer was done in a session that had not started")
                self.done = event
            case _:
                pass
