"""Chat completions as chunks of a stream; the whole completion is their fold."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic_core import to_json

from anytime_server.api.openai.errors import error_object
from anytime_server.api.schema.outcome import anytime_object
from anytime_server.api.schema.tools import call_object
from anytime_server.api.sse import Encoder
from anytime_server.session import events
from anytime_server.text.answer_text import AnswerToken
from anytime_server.types import IgnoredFields

Chunk = dict[str, Any]
DONE: Chunk = {}
"""Stands for `[DONE]`, which ends every stream."""


class ChatEncoder(Encoder[Chunk]):
    """Events of the choices' sessions as `chat.completion.chunk`s."""

    def __init__(
        self,
        num_choices: int,
        *,
        shows_thinking: bool,
        shows_usage: bool,
        has_tools: bool,
        names_tool: bool,
        ignored: IgnoredFields,
    ) -> None:
        """
        Args:
            names_tool: the client named the function to call.
            ignored: fields of the request that have no effect.
        """
        self._head: dict[str, Any] = {}
        """Fields of every chunk; known from the first session's first event on."""
        self._num_choices = num_choices
        self._shows_thinking = shows_thinking
        self._shows_usage = shows_usage
        self._has_tools = has_tools
        self._names_tool = names_tool
        self._ignored = ignored
        self._finish_reasons: dict[int, str] = {}
        self._unreported: dict[int, list[AnswerToken]] = {index: [] for index in range(num_choices)}
        """Tokens of each choice that had no text to go with."""
        self._usages: dict[int, events.Usage] = {}

    def encode(self, index: int, event: events.Event) -> Iterator[Chunk]:
        match event:
            case events.Started():
                self._head = self._head or _head(event)
                yield self._chunk(index, {"role": "assistant", "content": None if self._has_tools else ""})
            case events.ThinkingDelta(text=text) if self._shows_thinking and text:
                # Both names are in use; a client reads the one it knows.
                yield self._chunk(index, {"reasoning_content": text, "reasoning": text})
            case events.AnswerDelta(provisional=False):
                self._unreported[index] += event.tokens
                if event.text or not self._has_tools:
                    yield self._chunk(index, {"content": event.text})
            case events.AnswerDone(provisional=False):
                self._finish_reasons[index] = self._finish_reason(event)
                if event.tool_calls:
                    calls = [{"index": i} | call_object(call) for i, call in enumerate(event.tool_calls)]
                    yield self._chunk(index, {"tool_calls": calls})
            case events.Done():
                yield from self._last(index, event)
            case events.Failed(error=error):
                yield {"error": error_object(str(error), error.code, error.field, 500)}
            case _:
                return

    def _finish_reason(self, answer: events.AnswerDone) -> str:
        # As OpenAI has it: calling the function that the client named is no decision of the model's.
        is_decision = bool(answer.tool_calls) and not self._names_tool
        return "tool_calls" if is_decision and answer.finish_reason == "stop" else answer.finish_reason

    def _last(self, index: int, done: events.Done) -> Iterator[Chunk]:
        """The last chunk of a choice; that of the last choice ends the stream."""
        self._usages[index] = done.usage
        own = {"anytime": anytime_object(done, self._ignored)}
        chunk = self._chunk(index, {}, finish_reason=self._finish_reasons[index])
        if self._num_choices > 1:
            chunk["choices"][0] |= own
        yield chunk | (own if index == 0 else {})
        if len(self._usages) < self._num_choices:
            return
        if self._shows_usage:
            usages = [self._usages[number] for number in range(self._num_choices)]
            yield {**self._head, "choices": [], "usage": _usage(usages)}
        yield DONE

    def _chunk(self, index: int, delta: dict[str, Any], *, finish_reason: str | None = None) -> Chunk:
        tokens, self._unreported[index] = self._unreported[index], []
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": _logprobs(tokens) if tokens else None,
            "finish_reason": finish_reason,
        }
        return {**self._head, "choices": [choice]}

    def fold(self, stream: Iterable[Chunk]) -> dict[str, Any]:
        choices = [_WholeChoice(self._shows_thinking) for _ in range(self._num_choices)]
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
        return b"data: %s\n\n" % (b"[DONE]" if wire is DONE else to_json(wire))


def _head(started: events.Started) -> dict[str, Any]:
    return {
        "id": started.id,
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": started.model,
    }


class _WholeChoice:
    """The sum of one choice's chunks."""

    def __init__(self, shows_thinking: bool) -> None:
        self._shows_thinking = shows_thinking
        self._texts: dict[str, str] = {"content": "", "reasoning": ""}
        self._tool_calls: list[dict[str, Any]] = []
        self._logprobs: list[dict[str, Any]] = []
        self._last: dict[str, Any] = {}

    def add(self, choice: dict[str, Any]) -> None:
        delta = choice["delta"]
        for field in self._texts:
            self._texts[field] += delta.get(field) or ""
        for call in delta.get("tool_calls", ()):
            self._tool_calls.append({field: value for field, value in call.items() if field != "index"})
        if choice["logprobs"] is not None:
            self._logprobs += choice["logprobs"]["content"]
        self._last = choice

    def body(self, index: int) -> dict[str, Any]:
        content, thinking = self._texts["content"], self._texts["reasoning"]
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
        if self._shows_thinking:
            message |= {"reasoning_content": thinking, "reasoning": thinking}
        if self._tool_calls:
            message |= {"content": content or None, "tool_calls": self._tool_calls}
        own = {"anytime": self._last["anytime"]} if "anytime" in self._last else {}
        return {
            "index": index,
            "message": message,
            "logprobs": {"content": self._logprobs, "refusal": None} if self._logprobs else None,
            "finish_reason": self._last["finish_reason"],
            **own,
        }


def _logprobs(tokens: Sequence[AnswerToken]) -> dict[str, Any]:
    content = [
        _logprob(token.text, token.logprob)
        | {"top_logprobs": [_logprob(text, logprob) for text, logprob in token.top]}
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _logprob(text: str, logprob: float) -> dict[str, Any]:
    # The bytes of a token that is a part of a character are not known here any more.
    data = None if "\ufffd" in text else list(text.encode())
    return {"token": text, "logprob": logprob, "bytes": data}


def _usage(usages: Sequence[events.Usage]) -> dict[str, Any]:
    """The sum over all choices; the prompt, which they share, counts once.

    Early answers are in `completion_tokens` alone; `anytime.usage` has their number.
    """
    prompt_tokens = usages[0].prompt_tokens
    thinking_tokens = sum(usage.thinking_tokens for usage in usages)
    completion_tokens = sum(usage.output_tokens for usage in usages)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens_details": {"reasoning_tokens": thinking_tokens},
        "prompt_tokens_details": {"cached_tokens": usages[0].prompt_cached_tokens},
    }
