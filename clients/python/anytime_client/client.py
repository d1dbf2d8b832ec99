"""The synchronous client: sessions as iterators. `async_client.py` is its asyncio counterpart."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Self, TypeVar, Unpack

import httpx2

from anytime_client import operations
from anytime_client.base_client import BaseClient
from anytime_client.base_stream import BaseStream
from anytime_client.connection import Connection
from anytime_client.errors import ClientError, StreamInterrupted
from anytime_client.events import Event, Result
from anytime_client.operations import Model, Operation
from anytime_client.options import Messages, Options
from anytime_client.reading import Body, ReadTimeout, client_with_deadlines
from anytime_client.retry import Deadline, Retries
from anytime_client.stream_state import StreamState

Parsed = TypeVar("Parsed")


class Client(BaseClient):
    """A client of one server. Threads may share it.

    >>> client = Client("http://127.0.0.1:8000")
    >>> result = client.think("What is 7 - 3 x 2 + 5 modulo 10?", budget=16).result()
    >>> result.stop.budget_tokens
    16
    >>> result.answer == result.answers[-1].text
    True
    """

    def _create_http_client(self) -> None:
        self._http = client_with_deadlines(**self._http_options())
        self._finalizer = weakref.finalize(self, self._http.close)
        self._connections = weakref.WeakSet[Connection]()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; the server cancels the sessions that are still streaming."""
        for connection in list(self._connections):
            connection.abort()
        self._finalizer()

    def think(
        self, messages: Messages, *, timeout_s: float | None = None, **options: Unpack[Options]
    ) -> Stream:
        """Start a session. The request is sent when the stream is first used.

        Args:
            messages: the text of a user message, or a conversation.
            timeout_s: maximum seconds of the session; overrides the client's `timeout_s`.
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
        state, connection = StreamState(), Connection()
        self._connections.add(connection)
        events = self._events(operations.think(messages, options), timeout_s, state, connection)
        return Stream(self, events, state, connection)

    def answer_now(self, session_id: str) -> bool:
        """Stop the thinking of a session; False if the session is answering already or has ended."""
        return self._run(operations.answer_now(session_id))

    def extend(self, session_id: str, tokens: int) -> int:
        """Raise the budget of a session by `tokens`; returns the new budget.

        Raises:
            RequestRefused: the thinking has ended.
        """
        return self._run(operations.extend(session_id, tokens))

    def cancel(self, session_id: str) -> None:
        """Cancel a session; no error if it has ended already."""
        self._run(operations.cancel(session_id))

    def models(self) -> Sequence[Model]:
        """The models that the server serves.

        >>> with Client("http://127.0.0.1:8000") as client:
        ...     [model] = client.models()
        >>> "think_end" in model.anytime
        True
        """
        return self._run(operations.models())

    def _run(
        self,
        operation: Operation[Parsed],
        deadline: Deadline | None = None,
        connection: Connection | None = None,
    ) -> Parsed:
        deadline, connection = deadline or self._deadline(None), connection or Connection()
        retries = Retries(self.max_retries, deadline)
        while True:
            if connection.aborted.is_set():
                raise StreamInterrupted("the stream was closed before it was open")
            try:
                with self._translating_errors(deadline):
                    timeout = ReadTimeout(self._silence_timeout_s, self._response_deadline(deadline))
                    options = self._request_options(operation, deadline, timeout)
                    response = self._http.send(self._http.build_request(**options), stream=True)
                    if operation.streams and response.is_success:
                        timeout.deadline = deadline
                    else:
                        response = _read(response)
                    return operation.parse(response)
            except ClientError as error:
                delay_s = retries.delay_s(error)
            connection.aborted.wait(delay_s)

    def _events(
        self,
        operation: Operation[httpx2.Response],
        timeout_s: float | None,
        state: StreamState,
        connection: Connection,
    ) -> Generator[Any]:
        """Yields None as soon as the stream is open, then its events."""
        deadline = self._deadline(timeout_s)
        with self._recording_failure(state, connection):
            response = self._run(operation, deadline, connection)
            with connection.reading(response) as chunks:
                yield None
                with self._translating_errors(deadline, state.interrupted):
                    for chunk in chunks:
                        yield from state.feed(chunk)
                        if state.done is not None:
                            return
                    raise state.interrupted("the stream ended before the answer was done")


def _read(response: httpx2.Response) -> httpx2.Response:
    """The response with its body, or the beginning of it."""
    body = Body()
    with contextlib.closing(response):
        for chunk in response.iter_bytes():
            if not body.add(chunk):
                break
    return body.of(response)


class Stream(BaseStream, Iterator[Event]):
    """A session, as an iterator of its events.

    Leaving a `with` block early cancels the session. Without a `with` block the connection is closed when
    the stream is garbage-collected: at once in CPython, but the `with` block is the reliable way. Other
    threads than the one that iterates may call the methods.
    """

    def __init__(
        self, client: Client, events: Generator[Any], state: StreamState, connection: Connection
    ) -> None:
        super().__init__(state)
        self._client = client
        self._connection = connection
        # The generator must not refer to the stream: the cycle would delay closing a stream that is dropped.
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
        """Read the stream to its end and return the whole session.

        Raises:
            ClientError: any of its subclasses.
        """
        for _ in self:
            pass
        return self._state.result()

    def answer_now(self) -> bool:
        """Stop the thinking; False if the session is answering already or has ended.

        Raises:
            RuntimeError: `started` has not been received.
        """
        return self._client.answer_now(self._started_id())

    def extend(self, tokens: int) -> int:
        """Raise the budget by `tokens`; returns the new budget.

        Raises:
            RuntimeError: `started` has not been received.
            RequestRefused: the thinking has ended.
        """
        return self._client.extend(self._started_id(), tokens)

    def cancel(self) -> None:
        """Cancel the session. The iteration ends without an error.

        Raises:
            RuntimeError: `started` has not been received.
        """
        session_id = self._started_id()
        self._connection.aborted.set()
        try:
            self._client.cancel(session_id)
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection; the server cancels the session. The iteration ends without an error."""
        self._connection.abort()
        with contextlib.suppress(ValueError):  # the thread that reads will close it
            self._events.close()

    def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            next(self._events, None)
