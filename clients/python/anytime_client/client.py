"""The client for programs that wait: sessions as iterators. Its twin in `aio.py` awaits instead."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Self, TypeVar, Unpack

import httpx2

from anytime_client import calls
from anytime_client.calls import Call, Model
from anytime_client.connection import Connection
from anytime_client.endpoint import Endpoint
from anytime_client.errors import ClientError, StreamInterrupted
from anytime_client.events import Event, Result
from anytime_client.options import Messages, Options
from anytime_client.reception import Reception
from anytime_client.retrying import Deadline, Retries
from anytime_client.session import Session

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
        self._connections = weakref.WeakSet[Connection]()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a session that is still streaming is cancelled by that."""
        for connection in list(self._connections):
            connection.leave()
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
        reception, connection = Reception(), Connection()
        self._connections.add(connection)
        events = self._events(calls.think(messages, options), timeout_s, reception, connection)
        return Stream(self, events, reception, connection)

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

    def _run(
        self,
        call: Call[Outcome],
        deadline: Deadline | None = None,
        connection: Connection | None = None,
    ) -> Outcome:
        deadline, connection = deadline or Deadline(None), connection or Connection()
        retries = Retries(self.max_retries, deadline)
        while True:
            if connection.left.is_set():
                raise StreamInterrupted("the stream was left before it was open")
            try:
                with self._translating(deadline):
                    request = self._http.build_request(**self._request_options(call, deadline))
                    response = self._http.send(request, stream=True)
                    if not (call.streams and response.is_success):
                        response.read()
                    return call.outcome(response)
            except ClientError as error:
                pause_s = retries.pause_s(error)
            connection.left.wait(pause_s)

    def _events(
        self,
        call: Call[httpx2.Response],
        timeout_s: float | None,
        reception: Reception,
        connection: Connection,
    ) -> Generator[Any]:
        """None as soon as the stream is open, then its events."""
        deadline = self._deadline(timeout_s)
        with self._noting_failure(reception, connection):
            response = self._run(call, deadline, connection)
            with connection.carrying(response, deadline) as pieces:
                yield None
                with self._translating(deadline, reception.interrupted):
                    for piece in pieces:
                        yield from reception.read(piece)
                        if reception.done is not None:
                            return
                    raise reception.interrupted("the stream ended before the answer was done")


class Stream(Session, Iterator[Event]):
    """A session: an iterator of its events.

    In a `with` it is cancelled on leaving early. Without one the connection is closed once nothing refers to
    the stream any more, which is soon in CPython, but the `with` is the sure way. The controls may be used
    from other threads than the one that iterates.
    """

    def __init__(
        self, client: Client, events: Generator[Any], reception: Reception, connection: Connection
    ) -> None:
        super().__init__(reception)
        self._client = client
        self._connection = connection
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
        self._raise_failure()
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
        session_id = self._started_id()
        self._connection.left.set()
        try:
            self._client.cancel(session_id)
        finally:
            self.close()

    def close(self) -> None:
        """Drop the connection; a server cancels a session that nobody reads."""
        self._connection.leave()
        with contextlib.suppress(ValueError):  # another thread is just reading, and closes it on waking up
            self._events.close()

    def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            next(self._events, None)
