"""Parses the bytes of a session's stream into events and accumulates their result. Does no IO."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pydantic_core
from pydantic import BaseModel

from anytime_client.errors import ClientError, SessionFailed, StreamInterrupted
from anytime_client.events import (
    EVENT_TYPES,
    AnswerDone,
    Done,
    Event,
    Result,
    Started,
    Thinking,
    UnknownEvent,
)
from anytime_client.sse import Decoder, EventTooLong


class _ErrorDetail(BaseModel):
    message: str
    code: str | None = None
    field: str | None = None


class _Error(BaseModel):
    error: _ErrorDetail


class StreamState:
    """Parses one stream and holds the part received so far."""

    def __init__(self) -> None:
        self.started: Started | None = None
        self.answers: list[AnswerDone] = []
        """In the order received."""
        self.done: Done | None = None
        self.failure: ClientError | None = None
        """The error that ended the stream instead of `done`."""
        self._thinking: list[str] = []
        self._decoder = Decoder()

    @property
    def id(self) -> str | None:
        return None if self.started is None else self.started.id

    @property
    def thinking(self) -> str:
        return "".join(self._thinking)

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that the chunk completes, up to `done`. Each is recorded before it is yielded.

        Raises:
            SessionFailed: the stream has an `error` event.
            StreamInterrupted: the stream has something that is not an event of a session.
        """
        try:
            for sse_event in self._decoder.feed(chunk):
                event = self._parse(sse_event.data)
                self._record(event)
                yield event
                if self.done is not None:
                    return
        except EventTooLong as error:
            raise self.interrupted(f"the server sent {error}") from error

    def interrupted(self, reason: str) -> StreamInterrupted:
        """The error to raise for a stream without a terminal event; it carries what has been received."""
        return StreamInterrupted(reason, id=self.id, thinking=self.thinking, answers=tuple(self.answers))

    def result(self) -> Result:
        """The whole session.

        Raises:
            ClientError: the session failed.
            StreamInterrupted: the stream was closed before `done`.
        """
        if self.failure is not None:
            raise self.failure
        if self.started is None or self.done is None:
            raise self.interrupted("the stream was closed before the answer was done")
        answers = sorted(self.answers, key=lambda answer: (not answer.provisional, answer.at_tokens))
        return Result.model_validate(
            {
                **self.done.model_dump(exclude={"type"}),
                "model": self.started.model,
                "thinking": self.thinking,
                "answers": [answer.model_dump(exclude={"type"}) for answer in answers],
            }
        )

    def _parse(self, data: str) -> Event:
        try:
            fields: Any = pydantic_core.from_json(data)  # refuses lone surrogates, which cannot be printed
            event_type: Any = fields["type"]
            if event_type == "error":
                error = _Error.model_validate(fields).error
                raise SessionFailed(error.message, code=error.code, field=error.field)
            if model := EVENT_TYPES.get(event_type):
                return model.model_validate(fields)
            if not isinstance(event_type, str):
                raise TypeError("`type` must be a string")
            return UnknownEvent(raw=fields)
        except (ValueError, TypeError, KeyError) as error:
            raise self.interrupted(f"the server sent an invalid event: {data[:200]!r}") from error

    def _record(self, event: Event) -> None:
        match event:
            case Started():
                self.started = event
            case Thinking():
                self._thinking.append(event.text)
            case AnswerDone():
                self.answers.append(event)
            case Done():
                if self.started is None:
                    raise self.interrupted("the server sent `done` before `started`")
                self.done = event
            case _:
                pass
