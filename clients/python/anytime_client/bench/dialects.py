"""The protocols of the load: each builds requests and parses streams."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from anytime_client.sse import ServerSentEvent

TimedEvents = Sequence[tuple[float, ServerSentEvent]]
"""Events with the time at which each was received."""
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTemplate:
    """The fields that all requests of a run share."""

    model: str
    budget: int | None = None
    """Maximum number of thinking tokens; None for the server's default."""
    deadline_ms: int | None = None
    max_tokens: int | None = None
    """Maximum number of answer tokens; in the OpenAI dialect, of thinking and answer together."""
    extra_fields: Json = field(default_factory=Json)
    """Further fields of the body; they override the others."""


@dataclass(slots=True, kw_only=True)
class ParsedStream:
    """The content of one response stream."""

    thinking_s: list[float] = field(default_factory=list[float])
    """Time of each delta of the thinking."""
    answer_s: list[float] = field(default_factory=list[float])
    """Time of each delta of the final answer."""
    answer: str = ""
    prompt_tokens: int = 0
    thinking_tokens: int | None = None
    """None if the server does not count them separately."""
    answer_tokens: int = 0
    """Includes the thinking tokens where `thinking_tokens` is None."""
    cause: str | None = None
    error: str | None = None
    """Code of the error that ended the stream."""
    is_done: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A protocol."""

    path: str
    body: Callable[[RequestTemplate, str, int], Json]
    """Builds the body of a request from the template, a prompt and a seed."""
    parse: Callable[[TimedEvents], ParsedStream]


def _without_empty(**fields: Any) -> Json:
    return {name: value for name, value in fields.items() if value not in (None, {})}


def _native_body(template: RequestTemplate, prompt: str, seed: int) -> Json:
    return {
        "model": template.model,
        "messages": [{"role": "user", "content": prompt}],
        "thinking": {"seed": seed},
        **_without_empty(
            budget=_without_empty(tokens=template.budget, deadline_ms=template.deadline_ms),
            answer=_without_empty(max_tokens=template.max_tokens),
        ),
        **template.extra_fields,
    }


def _parse_native(events: TimedEvents) -> ParsedStream:
    stream, final_index = ParsedStream(), None
    for at, event in events:
        fields = json.loads(event.data)
        match fields["type"]:
            case "thinking":
                stream.thinking_s.append(at)
            case "answer.started" if not fields["provisional"]:
                final_index = fields["index"]
            case "answer.delta" if fields["index"] == final_index:
                stream.answer_s.append(at)
            case "done":
                usage = fields["usage"]
                stream.answer, stream.cause, stream.is_done = fields["answer"], fields["stop"]["cause"], True
                stream.prompt_tokens, stream.answer_tokens = usage["prompt_tokens"], usage["answer_tokens"]
                stream.thinking_tokens = usage["thinking_tokens"]
            case "error":
                stream.error = fields["error"]["code"]
            case _:
                pass
    return stream


def _openai_body(template: RequestTemplate, prompt: str, seed: int) -> Json:
    return {
        "model": template.model,
        "messages": [{"role": "user", "content": prompt}],
        "seed": seed,
        "stream": True,
        "stream_options": {"include_usage": True},
        **_without_empty(
            max_tokens=template.max_tokens,
            thinking_token_budget=template.budget,
            anytime=_without_empty(budget=_without_empty(deadline_ms=template.deadline_ms)),
        ),
        **template.extra_fields,
    }


def _parse_openai(events: TimedEvents) -> ParsedStream:
    stream, answer = ParsedStream(), list[str]()
    for at, event in events:
        if event.data == "[DONE]":
            stream.is_done = True
            continue
        chunk = json.loads(event.data)
        if error := chunk.get("error"):
            stream.error = str(error.get("code") or error.get("type"))
        for choice in chunk.get("choices", ()):
            delta = choice["delta"]
            if delta.get("reasoning") or delta.get("reasoning_content"):
                stream.thinking_s.append(at)
            if delta.get("content"):
                stream.answer_s.append(at)
                answer.append(delta["content"])
        if usage := chunk.get("usage"):
            stream.prompt_tokens, stream.answer_tokens = usage["prompt_tokens"], usage["completion_tokens"]
            details: Json = usage.get("completion_tokens_details") or {}
            stream.thinking_tokens = details.get("reasoning_tokens")
            stream.answer_tokens -= stream.thinking_tokens or 0
        if extension := chunk.get("anytime"):
            stream.cause = extension["stop"]["cause"]
    stream.answer = "".join(answer)
    return stream


DIALECTS = {
    "native": Dialect(path="/v1/anytime", body=_native_body, parse=_parse_native),
    "openai": Dialect(path="/v1/chat/completions", body=_openai_body, parse=_parse_openai),
}
