"""A session as the native dialect's stream, or as its one body."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from anytime_server.api.native import events as wire
from anytime_server.api.sse import Encoder
from anytime_server.session import events


class NativeEncoder(Encoder[wire.Event]):
    """Every event of a session has a wire form of the same name."""

    def encode(self, index: int, event: events.Event) -> Iterator[wire.Event]:
        match event:
            case events.ThinkingDelta():
                yield wire.ThinkingDelta(text=event.text, total_tokens=event.total_tokens)
            case events.AnswerDelta():
                if event.text:
                    yield wire.AnswerDelta(index=event.index, text=event.text)
            case events.Started():
                deadline_ms = None if event.deadline_s is None else round(event.deadline_s * 1000)
                yield wire.Started(
                    id=event.id,
                    model=event.model,
                    budget=wire.ResolvedBudget(
                        tokens=event.budget_tokens, grace=event.grace_tokens, deadline_ms=deadline_ms
                    ),
                    prompt_tokens=event.prompt_tokens,
                )
            case events.AnswerStarted():
                yield wire.AnswerStarted.model_validate(event)
            case events.AnswerDone():
                yield wire.AnswerDone.model_validate(event)
            case events.Done():
                yield wire.Done.model_validate(event)
            case events.Failed(error=error):
                yield wire.ErrorEvent(error=wire.ErrorDetail.of(error))

    def fold(self, stream: Iterable[wire.Event]) -> dict[str, Any]:
        model, thinking = "", ""
        answers: list[wire.AnswerDone] = []
        outcome: dict[str, Any] = {}
        for event in stream:
            match event:
                case wire.Started():
                    model = event.model
                case wire.ThinkingDelta():
                    thinking += event.text
                case wire.AnswerDone():
                    answers.append(event)
                case wire.Done():
                    outcome = event.model_dump(exclude={"type"})
        answers.sort(key=lambda answer: (not answer.provisional, answer.at_tokens))
        whole = [answer.model_dump(exclude={"type"}) for answer in answers]
        return outcome | {"model": model, "thinking": thinking, "answers": whole}

    def frame(self, wire: wire.Event) -> bytes:
        # Written by hand: FastAPI's formatter takes U+2028, U+2029 and U+0085 for line ends.
        return f"event: {wire.type}\ndata: {wire.model_dump_json()}\n\n".encode()
