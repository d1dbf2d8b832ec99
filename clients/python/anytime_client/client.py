"""The client for programs that wait: sessions as iterators. Its twin in `aio.py` awaits instead."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Self, TypeVar, Unpack

import httpx2

from anytime_client import calls
from anytime_client.calls import Call, Model
from anytime_client.endpoint import Endpoint
from anytime_client.errors import ClientError, TimedOut
from anytime_client.events import Event, Result
from anytime_client.line import Line, StreamState
from anytime_client.options import Messages, Options, body
from anytime_client.reception import Reception
from anytime_client.retrying import Deadline, Retries

Outcome = TypeVar("Outcome")


class Client(Endpoint):
    """Talks to one server. Threads may share it.

    >>> client = Client("http://127.0.0.1:8000")
    >>> result = client.think("What is 7 - 3 x 2 + 5 modulo 10?", budget=16).result()
    >>> result.stop.budget_tokens
    16
    >>> result.answer == result.answers[-1].text
    True
    """

    def _prepare(self) -> None:
        self._http = httpx2.Client(**self._http_options())
        self._closing = weakref.finalize(self, self._http.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a session that is still streaming is cancelled by that."""
        self._closing()

    def think(
        self, messages: Messages, *, timeout_s: float | None = None, **options: Unpack[Options]
    ) -> Stream:
        """Ask. Nothing is sent before the stream is used: entered, iterated, or asked for its result.

        Args:
            messages: the user's message, or a conversation.
            timeout_s: how long the session may take, instead of the client's `timeout_s`.
            options: see `Options`.

        >>> with Client("http://127.0.0.1:8000") as client:
        ...     with client.think("What is 2 + 2 modulo 10?", budget=8, budgets=[4]) as stream:
        ...         for event in stream:
        ...             match event:
        ...                 case AnswerDone(provisional=True, at_tokens=at_tokens):
        ...                     print("an answer after", at_tokens)
        ...                 case _:
        ...                     pass
        an answer after 4
        """
        reception, line = Reception(), Line()
        call = calls.think(body(messages, options))
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        events = self._events(call, timeout_s, reception, line)
        return Stream(self, events, reception, line)

    def answer_now(self, session_id: str) -> bool:
        """Stop the thinking of a session; False if it was answering already or had ended."""
        return self._run(calls.answer_now(session_id))

    def extend(self, session_id: str, tokens: int) -> int:
        """Let a session think for so many tokens more than it was to; the new budget in tokens.

        Raises:
            RequestRefused: the thinking is over.
        """
        return self._run(calls.extend(session_id, tokens))

    def cancel(self, session_id: str) -> None:
        """End a session; nothing happens if it had ended."""
        self._run(calls.cancel(session_id))

    def models(self) -> Sequence[Model]:
        """What the server serves.

        >>> with Client("http://127.0.0.1:8000") as client:
        ...     [model] = client.models()
        >>> "think_end" in model.anytime
        True
        """
        return self._run(calls.models())

    def _run(self, call: Call[Outcome], deadline: Deadline | None = None) -> Outcome:
        deadline = deadline or Deadline(None)
        retries = Retries(self.max_retries)
        while True:
            try:
                with self._translating(deadline):
                    request = self._http.build_request(**self._request_options(call, deadline))
                    response = self._http.send(request, stream=True)
                    if not (call.streams and response.is_success):
                        response.read()
                    return call.outcome(response)
            except ClientError as error:
                pause_s = retries.pause_s(error)
                if pause_s >= deadline.left_s:
                    raise
            time.sleep(pause_s)

    def _events(
        self,
        call: Call[httpx2.Response],
        timeout_s: float | None,
        reception: Reception,
        line: Line,
    ) -> Generator[Any]:
        """None as soon as the stream is open, then its events."""
        deadline = Deadline(timeout_s)
        try:
            with contextlib.closing(self._run(call, deadline)) as response, _dropped_at(deadline, line):
                line.connect(response)
                yield None
                with self._translating(deadline, reception.interrupted):
                    for piece in response.iter_bytes():
                        yield from reception.read(piece)
                        if reception.done is not None:
                            return
                    raise reception.interrupted("the stream ended before the answer was done")
        except ClientError as error:
            if isinstance(error, TimedOut) or not line.was_left:
                raise


class Stream(StreamState, Iterator[Event]):
    """A session: an iterator of its events.

    In a `with` it is cancelled on leaving early. Without one the connection is closed once nothing refers to
    the stream any more, which is soon in CPython, but the `with` is the sure way. The controls may be used
    from other threads than the one that iterates.
    """

    def __init__(self, client: Client, events: Generator[Any], reception: Reception, line: Line) -> None:
        super().__init__(reception, line)
        self._client = client
        # It must not refer to the stream: then it would not be closed as soon as the stream is dropped.
        self._events = events
        self._is_open = False

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        self._open()
        return next(self._events)

    def result(self) -> Result:
        """Read to the end; the whole session.

        Raises:
            ClientError: any of the tree.
        """
        for _ in self:
            pass
        return self._reception.result()

    def answer_now(self) -> bool:
        """Stop the thinking; False if it was answering already or had ended.

        Raises:
            RuntimeError: `started` has not come.
        """
        return self._client.answer_now(self._started_id())

    def extend(self, tokens: int) -> int:
        """Let it think for so many tokens more than it was to; the new budget in tokens.

        Raises:
            RuntimeError: `started` has not come.
            RequestRefused: the thinking is over.
        """
        return self._client.extend(self._started_id(), tokens)

    def cancel(self) -> None:
        """End the session. Who iterates comes to the end without an error.

        Raises:
            RuntimeError: `started` has not come.
        """
        session_id, self._line.was_left = self._started_id(), True
        try:
            self._client.cancel(session_id)
        finally:
            self.close()

    def close(self) -> None:
        """Drop the connection; a server cancels a session that nobody reads."""
        self._line.leave()
        with contextlib.suppress(ValueError):  # another thread is just reading, and closes it on waking up
            self._events.close()

    def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            next(self._events, None)


@contextlib.contextmanager
def _dropped_at(deadline: Deadline, line: Line) -> Generator[None]:
    if not deadline.is_set:
        yield
        return
    timer = threading.Timer(deadline.left_s, line.drop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
