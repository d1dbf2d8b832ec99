"""A chat completion as it is told: chunks of a stream, or one body."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json

from anytime_server.api.openai.errors import error_object
from anytime_server.api.schema.tools import ToolAnswer, call_object
from anytime_server.api.sse import Transcript, anytime_object
from anytime_server.session import events
from anytime_server.text.tool_calls import ToolCall


class ChatChunks:
    """Events of the choices as `chat.completion.chunk`s."""

    def __init__(
        self,
        *,
        completion_id: str,
        model: str,
        num_choices: int,
        tool_answers: Sequence[ToolAnswer],
        shows_thinking: bool,
        shows_usage: bool,
    ) -> None:
        """
        Args:
            tool_answers: one for each choice; none where there are no tools.
        """
        self._head = {
            "id": completion_id,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }
        answers = tool_answers or [None] * num_choices
        self._choices = [_Choice(index, answer, shows_thinking) for index, answer in enumerate(answers)]
        self._shows_usage = shows_usage
        self._done: dict[int, events.Done] = {}

    async def encode(self, batch: Sequence[tuple[int, events.Event]]) -> bytes:
        """Wire form of a batch, each event with the index of its choice; may be empty."""
        chunks = [chunk for index, event in batch for chunk in await self._chunks(index, event)]
        return b"".join(b"data: " + chunk + b"\n\n" for chunk in chunks)

    async def _chunks(self, index: int, event: events.Event) -> list[bytes]:
        match event:
            case events.Done():
                return self._last(index, event)
            case events.ErrorEvent(error=error):
                return [to_json({"error": error_object(error.message, error.code, error.field, 500)})]
            case _:
                return [
                    to_json({**self._head, "choices": [choice]})
                    for choice in await self._choices[index].tell(event)
                ]

    def _last(self, index: int, done: events.Done) -> list[bytes]:
        """A choice is done; the last of them ends the stream."""
        self._done[index] = done
        own = {"anytime": anytime_object(done)}
        choice = self._choices[index].last()
        if len(self._choices) > 1:
            choice |= own
        chunks = [to_json({**self._head, "choices": [choice], **(own if index == 0 else {})})]
        if len(self._done) < len(self._choices):
            return chunks
        if self._shows_usage:
            usage = _usage([self._done[number].usage for number in range(len(self._choices))])
            chunks.append(to_json({**self._head, "choices": [], "usage": usage}))
        return [*chunks, b"[DONE]"]


class _Choice:
    """One choice of a stream, as its events come."""

    def __init__(self, index: int, tool_answer: ToolAnswer | None, shows_thinking: bool) -> None:
        self._index = index
        self._tool_answer = tool_answer
        self._shows_thinking = shows_thinking
        self._untold: list[events.AnswerToken] = []
        """Tokens of text that is held back."""
        self._finish_reason: str | None = None

    async def tell(self, event: events.Event) -> list[dict[str, Any]]:
        """What an event but the last is as entries of `choices`."""
        match event:
            case events.Started():
                content = "" if self._tool_answer is None else None
                return [self._entry({"role": "assistant", "content": content})]
            case events.ThinkingDelta() if self._shows_thinking and event.text:
                # Both names are in use; a client reads the one it knows.
                return [self._entry({"reasoning_content": event.text, "reasoning": event.text})]
            case events.AnswerDelta(provisional=False):
                self._untold += event.tokens
                if self._tool_answer is None:
                    return [self._entry({"content": event.text})]
                text = self._tool_answer.push(event.text)
                return [self._entry({"content": text})] if text else []
            case events.AnswerDone(provisional=False):
                return await self._finish(event)
            case _:
                return []

    def last(self) -> dict[str, Any]:
        return self._entry({}, finish_reason=self._finish_reason)

    async def _finish(self, answer: events.AnswerDone) -> list[dict[str, Any]]:
        self._finish_reason = answer.finish_reason
        if self._tool_answer is None:
            return []
        # In a thread: parsers may go through the whole vocabulary.
        text, calls = await asyncio.to_thread(self._tool_answer.finish)
        told = [self._entry({"content": text})] if text else []
        if calls:
            self._finish_reason = "tool_calls"
            told.append(self._entry({"tool_calls": [{"index": i} | c for i, c in enumerate(_calls(calls))]}))
        return told

    def _entry(self, delta: dict[str, Any], *, finish_reason: str | None = None) -> dict[str, Any]:
        tokens, self._untold = self._untold, []
        return {
            "index": self._index,
            "delta": delta,
            "logprobs": _logprobs(tokens) if tokens else None,
            "finish_reason": finish_reason,
        }


async def completion(
    transcripts: Sequence[Transcript], *, tool_answers: Sequence[ToolAnswer], shows_thinking: bool
) -> dict[str, Any]:
    """All choices as one `chat.completion`.

    Args:
        tool_answers: one for each choice; none where there are no tools.
    """
    first = transcripts[0]
    choices = [
        await _choice(index, transcript, tool_answers[index] if tool_answers else None, shows_thinking)
        for index, transcript in enumerate(transcripts)
    ]
    if len(choices) > 1:
        for choice, transcript in zip(choices, transcripts, strict=True):
            choice["anytime"] = anytime_object(transcript.done)
    return {
        "id": first.done.id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": first.model,
        "choices": choices,
        "usage": _usage([transcript.done.usage for transcript in transcripts]),
        "anytime": anytime_object(first.done),
    }


async def _choice(
    index: int, transcript: Transcript, tool_answer: ToolAnswer | None, shows_thinking: bool
) -> dict[str, Any]:
    content: str | None = transcript.done.answer
    finish_reason = transcript.answers[-1].finish_reason
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if shows_thinking:
        message |= {"reasoning_content": transcript.thinking, "reasoning": transcript.thinking}
    if tool_answer is not None:
        shown = tool_answer.push(transcript.done.answer)
        rest, calls = await asyncio.to_thread(tool_answer.finish)  # as above
        if calls:
            finish_reason = "tool_calls"
            message |= {"content": shown + rest or None, "tool_calls": _calls(calls)}
    tokens = transcript.tokens
    return {
        "index": index,
        "message": message,
        "logprobs": _logprobs(tokens) if tokens else None,
        "finish_reason": finish_reason,
    }


def _calls(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    return [call_object(call) for call in calls]


def _logprobs(tokens: Sequence[events.AnswerToken]) -> dict[str, Any]:
    content = [
        _likelihood(token.text, token.logprob) | {"top_logprobs": [_likelihood(*one) for one in token.top]}
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _likelihood(text: str, logprob: float) -> dict[str, Any]:
    # A token that is a part of a character has bytes, but here no longer.
    data = None if "\ufffd" in text else list(text.encode())
    return {"token": text, "logprob": logprob, "bytes": data}


def _usage(usages: Sequence[events.Usage]) -> dict[str, Any]:
    """The sum over all choices; the prompt, which they share, counts once.

    Provisional answers are in `completion_tokens` alone; `anytime.usage` tells how many they were.
    """
    prompt_tokens = usages[0].prompt_tokens
    thinking_tokens = sum(usage.thinking_tokens for usage in usages)
    completion_tokens = thinking_tokens + sum(
        usage.answer_tokens + usage.provisional_tokens for usage in usages
    )
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens_details": {"reasoning_tokens": thinking_tokens},
        "prompt_tokens_details": {"cached_tokens": usages[0].cached_tokens},
    }
