"""Engines of the tests: one that plays a checkpoint's model, and a record of the requests to any engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from anytime_server.engine import Delta, Engine, EngineRequest
from anytime_server.engine.scripted import Script, ScriptedEngine
from anytime_server.text.model import Model

WINDOW_TOKENS = 4096


def record_requests(engine: Engine) -> list[EngineRequest]:
    """Returns a list to which each later request to the engine is appended."""
    requests: list[EngineRequest] = []
    generate = engine.generate

    def recording(request: EngineRequest) -> AsyncGenerator[Delta, None]:
        requests.append(request)
        return generate(request)

    engine.generate = recording
    return requests


class PlayedModel(ScriptedEngine):
    """Plays a script, with other answers one after another; can wait before the end of an answer."""

    def __init__(
        self,
        model: Model,
        script: dict[str, Any],
        *,
        answers: Sequence[str] = (),
        pause_after: int | None = None,
        window_tokens: int = WINDOW_TOKENS,
    ) -> None:
        """
        Args:
            script: fields of `Script`.
            answers: the first answers, before those of the script.
            pause_after: number of tokens of an answer after which it waits for `go_on`.
        """
        super().__init__(
            model.tokenizer, model.reasoning, script=Script(**script), window_tokens=window_tokens
        )
        self.go_on = asyncio.Event()
        self._answers = iter(answers)
        self._pause_after = pause_after

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Delta, None]:
        is_answer = "-answer-" in request.id
        if is_answer:
            answer = next(self._answers, self.script.answer)
            self.script = self.script.model_copy(update={"answer": answer})
        num_tokens = 0
        async with aclosing(super().generate(request)) as deltas:
            async for delta in deltas:
                num_tokens += len(delta.token_ids)
                if is_answer and num_tokens == self._pause_after:
                    async with asyncio.timeout(5):
                        await self.go_on.wait()
                yield delta
