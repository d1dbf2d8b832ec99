"""The dialects that load is sent in: what a request looks like, and what a stream has told in the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from anytime_client.sse import ServerSentEvent

Timed = Sequence[tuple[float, ServerSentEvent]]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What every request of a run has in common."""

    model: str
    budget: int | None = None
    """Thinking tokens; None for the server's."""
    deadline_ms: int | None = None
    max_tokens: int | None = None
    """Of the answer; in the OpenAI dialect of thinking and answer together."""
    more: Json = field(default_factory=Json)
    """Further fields of the body, over the others."""


@dataclass(slots=True, kw_only=True)
class Told:
    """What a stream has told."""

    thinking_s: list[float] = field(default_factory=list[float])
    """When each piece of the thinking came."""
    answer_s: list[float] = field(default_factory=list[float])
    """When each piece of the last answer came."""
    answer: str = ""
    prompt_tokens: int = 0
    thinking_tokens: int | None = None
    """None where the server does not tell them apart."""
    answer_tokens: int = 0
    """In the OpenAI dialect without a count of thinking tokens: all."""
    cause: str | None = None
    error: str | None = None
    """Code of the error that ended it."""
    is_done: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One of them."""

    path: str
    body: Callable[[Ask, str, int], Json]
    """The request, for a prompt and a seed."""
    read: Callable[[Timed], Told]


def _given(**fields: Any) -> Json:
    return {name: value for name, value in fields.items() if value not in (None, {})}


def _native_body(ask: Ask, prompt: str, seed: int) -> Json:
    return {
        "model": ask.model,
        "messages": [{"role": "user", "content": prompt}],
        "thinking": {"seed": seed},
        **_given(
            budget=_given(tokens=ask.budget, deadline_ms=ask.deadline_ms),
            answer=_given(max_tokens=ask.max_tokens),
        ),
        **ask.more,
    }


def _read_native(events: Timed) -> Told:
    told, answering = Told(), None
    for at, event in events:
        said = json.loads(event.data)
        match said["type"]:
            case "thinking":
                told.thinking_s.append(at)
            case "answer.started" if not said["provisional"]:
                answering = said["index"]
            case "answer.delta" if said["index"] == answering:
                told.answer_s.append(at)
            case "done":
                usage = said["usage"]
                told.answer, told.cause, told.is_done = said["answer"], said["stop"]["cause"], True
                told.prompt_tokens, told.answer_tokens = usage["prompt_tokens"], usage["answer_tokens"]
                told.thinking_tokens = usage["thinking_tokens"]
            case "error":
                told.error = said["error"]["code"]
            case _:
                pass
    return told


def _openai_body(ask: Ask, prompt: str, seed: int) -> Json:
    return {
        "model": ask.model,
        "messages": [{"role": "user", "content": prompt}],
        "seed": seed,
        "stream": True,
        "stream_options": {"include_usage": True},
        **_given(
            max_tokens=ask.max_tokens,
            thinking_token_budget=ask.budget,
            anytime=_given(budget=_given(deadline_ms=ask.deadline_ms)),
        ),
        **ask.more,
    }


def _read_openai(events: Timed) -> Told:
    told, answer = Told(), list[str]()
    for at, event in events:
        if event.data == "[DONE]":
            told.is_done = True
            continue
        said = json.loads(event.data)
        if error := said.get("error"):
            told.error = str(error.get("code") or error.get("type"))
        for choice in said.get("choices", ()):
            delta = choice["delta"]
            if delta.get("reasoning") or delta.get("reasoning_content"):
                told.thinking_s.append(at)
            if delta.get("content"):
                told.answer_s.append(at)
                answer.append(delta["content"])
        if usage := said.get("usage"):
            told.prompt_tokens, told.answer_tokens = usage["prompt_tokens"], usage["completion_tokens"]
            details: Json = usage.get("completion_tokens_details") or {}
            told.thinking_tokens = details.get("reasoning_tokens")
            told.answer_tokens -= told.thinking_tokens or 0
        if own := said.get("anytime"):
            told.cause = own["stop"]["cause"]
    told.answer = "".join(answer)
    return told


DIALECTS = {
    "native": Dialect(path="/v1/anytime", body=_native_body, read=_read_native),
    "openai": Dialect(path="/v1/chat/completions", body=_openai_body, read=_read_openai),
}
