"""Chat completions as chunks of a stream; the whole completion is their fold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from anytime_server.api.openai import logprobs
from anytime_server.api.openai.chat.choices import StreamedChoice, ThinkingPlace, WholeChoice
from anytime_server.api.openai.chunks import DONE, Chunk, frame, head
from anytime_server.api.openai.errors import error_object
from anytime_server.api.schema.outcome import anytime_object
from anytime_server.api.schema.tools import call_object
from anytime_server.api.sse import Encoder
from anytime_server.session import events
from anytime_server.types import IgnoredFields

StreamedUsage = Literal["none", "last chunk", "every chunk"]
"""Chunks with the usage; on every chunk, it is that until now."""


class ChatEncoder(Encoder[Chunk]):
    """Events of the choices' sessions as `chat.completion.chunk`s."""

    def __init__(
        self,
        num_choices: int,
        *,
        place: ThinkingPlace,
        usage: StreamedUsage,
        has_tools: bool,
        names_tool: bool,
        ignored: IgnoredFields,
        echoed_text: str = "",
    ) -> None:
        """
        Args:
            echoed_text: begins the content of each choice.
            names_tool: the client named the function to call.
            ignored: fields of the request that have no effect.
        """
        self._head: dict[str, Any] = {}
        """Fields of every chunk; known from the first session's first event on."""
        self._prompt_tokens = 0
        self._place: ThinkingPlace = place
        self._usage: StreamedUsage = usage
        self._names_tool = names_tool
        self._ignored = ignored
        self._echoed_text = echoed_text
        self._choices = [
            StreamedChoice(index=index, place=place, has_tools=has_tools) for index in range(num_choices)
        ]

    def encode(self, index: int, event: events.Event) -> Iterator[Chunk]:
        choice = self._choices[index]
        match event:
            case events.Started():
                self._head = self._head or head(event, "chat.completion.chunk")
                self._prompt_tokens = event.prompt_tokens
            case events.ThinkingDelta():
                choice.thinking_tokens = event.total_tokens
                if (delta := choice.thinking(event.text)) is not None:
                    yield self._chunk(choice, delta)
            case events.AnswerStarted(provisional=False) if self._echoed_text:
                if (delta := choice.answer(self._echoed_text)) is not None:
                    yield self._chunk(choice, delta)
            case events.AnswerDelta(provisional=False):
                choice.answer_tokens = event.sampled_tokens
                choice.unreported += event.tokens
                if (delta := choice.answer(event.text)) is not None:
                    yield self._chunk(choice, delta)
            case events.AnswerDone(provisional=True):
                choice.early_tokens += event.answer_tokens
            case events.AnswerDone():
                choice.finish_reason = self._finish_reason(event)
                if event.tool_calls:
                    calls = [{"index": i} | call_object(call) for i, call in enumerate(event.tool_calls)]
                    yield self._chunk(choice, choice.calls(calls))
            case events.Done():
                yield from self._last(choice, event)
            case events.Failed(error=error):
                yield {"error": error_object(str(error), error.code, error.field, 500)}
            case _:
                return

    def _finish_reason(self, answer: events.AnswerDone) -> str:
        # As OpenAI has it: calling the function that the client named is no decision of the model's.
        is_decision = bool(answer.tool_calls) and not self._names_tool
        return "tool_calls" if is_decision and answer.finish_reason == "stop" else answer.finish_reason

    def _last(self, choice: StreamedChoice, done: events.Done) -> Iterator[Chunk]:
        """The last chunk of a choice; that of the last choice ends the stream."""
        choice.usage = done.usage
        own = {"anytime": anytime_object(done, self._ignored)}
        chunk = self._chunk(choice, choice.last(), finish_reason=choice.finish_reason)
        if len(self._choices) > 1:
            chunk["choices"][0] |= own
        yield chunk | (own if choice.index == 0 else {})
        usages = [choice.usage for choice in self._choices if choice.usage is not None]
        if len(usages) < len(self._choices):
            return
        if self._usage != "none":
            cached = {"prompt_tokens_details": {"cached_tokens": usages[0].prompt_cached_tokens}}
            yield {**self._head, "choices": [], "usage": self._usage_until_now() | cached}
        yield DONE

    def _chunk(
        self, choice: StreamedChoice, delta: dict[str, Any], *, finish_reason: str | None = None
    ) -> Chunk:
        tokens, choice.unreported = choice.unreported, []
        body = {
            "index": choice.index,
            "delta": delta,
            "logprobs": {"content": logprobs.entries(tokens), "refusal": None} if tokens else None,
            "finish_reason": finish_reason,
        }
        chunk = {**self._head, "choices": [body]}
        if self._usage == "none":
            return chunk
        return chunk | {"usage": self._usage_until_now() if self._usage == "every chunk" else None}

    def _usage_until_now(self) -> dict[str, Any]:
        """The sum over all choices; the prompt, which they share, counts once.

        Early answers are in `completion_tokens` alone; `anytime.usage` has their number.
        """
        completion_tokens = sum(choice.output_tokens for choice in self._choices)
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self._prompt_tokens + completion_tokens,
            "completion_tokens_details": {
                "reasoning_tokens": sum(choice.reasoning_tokens for choice in self._choices)
            },
        }

    def fold(self, stream: Iterable[Chunk]) -> dict[str, Any]:
        choices = [WholeChoice(self._place) for _ in self._choices]
        whole: dict[str, Any] = {}
        for chunk in stream:
            for choice in chunk.get("choices", ()):
                choices[choice["index"]].add(choice)
            whole |= {field: chunk[field] for field in ("usage", "anytime") if field in chunk}
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice.body(index) for index, choice in enumerate(choices)],
            "usage": whole["usage"],
            "anytime": whole["anytime"],
        }

    def frame(self, wire: Chunk) -> bytes:
        return frame(wire)
