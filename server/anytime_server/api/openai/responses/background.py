"""Responses that think on without a client, whose events can be read again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from fastapi.sse import KEEPALIVE_COMMENT

from anytime_server.api import sse
from anytime_server.api.openai.responses.encoder import ResponsesEncoder
from anytime_server.api.openai.responses.input_items import InputItem
from anytime_server.api.openai.responses.store import StoredResponse
from anytime_server.session import Session


class BackgroundResponse(StoredResponse):
    """A stored response that reads its session by itself."""

    def __init__(self, session: Session, items: Sequence[InputItem]) -> None:
        super().__init__(session, items)
        self._news = asyncio.Event()
        self._is_read = False
        """Whether the last event is in `frames`."""
        self._task: asyncio.Task[None] | None = None

    def start(self, encoder: ResponsesEncoder) -> None:
        """Read the session to its end."""
        assert self.session is not None
        self._task = asyncio.create_task(self._read(self.session, encoder), name=f"background {self.id}")

    async def cancel(self) -> None:
        await super().cancel()
        if self._task is not None:
            await self._task

    async def events(self, *, after: int = -1) -> AsyncGenerator[bytes, None]:
        """Its server-sent events from the beginning, and then those to come.

        Args:
            after: number of the last event that the client has.
        """
        position = after + 1
        while True:
            is_last, news = self._is_read, self._news
            if self.frames[position:]:
                yield b"".join(self.frames[position:])
                position = len(self.frames)
            if is_last:
                return
            try:
                async with asyncio.timeout(sse.KEEP_ALIVE_S):
                    await news.wait()
            except TimeoutError:
                yield KEEPALIVE_COMMENT

    async def _read(self, session: Session, encoder: ResponsesEncoder) -> None:
        try:
            async for batch in session.read():
                frames, failed = sse.frames_of(encoder, [(0, event) for event in batch])
                for frame in frames:
                    self.add_frame(frame)
                self._wake()
                if failed:
                    return
        finally:
            self._is_read = True
            self._wake()

    def _wake(self) -> None:
        """Wake those that wait for events."""
        news, self._news = self._news, asyncio.Event()
        news.set()
