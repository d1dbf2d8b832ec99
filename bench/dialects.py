"""The dialects as their own clients speak them: how each is asked for a budget, and where its answer is."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from anytime_client import sse

ANSWER_ROOM = 100
"""Tokens beyond the budget where a dialect limits thinking and answer together."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked, in any dialect."""

    model: str
    prompt: str
    budget: int
    temperature: float | None
    """Of thinking and answer; None for the server's."""
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a client made of a response."""

    answer: str = ""
    stop: Json | None = None
    """What stopped the thinking; None where nothing tells."""
    num_ends: int = 0
    """Times that the response said that it is complete; a body is so once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One of them."""

    name: str
    path: str
    body: Callable[[Asked], Json]
    """The request, without `stream`."""
    whole: Callable[[Json], Reply]
    """Reads a body."""
    streamed: Callable[[Sequence[sse.ServerSentEvent]], Reply]
    """Reads a stream."""


def _messages(asked: Asked) -> Json:
    return {"messages": [{"role": "user", "content": asked.prompt}]}


def _sampling(asked: Asked) -> Json:
    return {} if asked.temperature is None else {"temperature": asked.temperature}


def _native_body(asked: Asked) -> Json:
    return _messages(asked) | {
        "budget": asked.budget,
        "thinking": {"seed": asked.seed, **_sampling(asked)},
        "answer": _sampling(asked),
    }


def _native_streamed(events: Sequence[sse.ServerSentEvent]) -> Reply:
    said = [json.loads(event.data) for event in events]
    done = [event for event in said if event["type"] == "done"]
    return Reply(
        answer="".join(event["text"] for event in said if event["type"] == "answer.delta"),
        stop=done[0]["stop"] if done else None,
        num_ends=len(done),
    )


def _chat_body(asked: Asked) -> Json:
    return _messages(asked) | {
        "model": asked.model,
        "thinking_token_budget": asked.budget,
        "seed": asked.seed,
        **_sampling(asked),
    }


def _chat_streamed(events: Sequence[sse.ServerSentEvent]) -> Reply:
    chunks = [json.loads(event.data) for event in events if event.data != "[DONE]"]
    choices = [choice for chunk in chunks for choice in chunk.get("choices", ())]
    own = [chunk["anytime"] for chunk in chunks if "anytime" in chunk]
    return Reply(
        answer="".join(choice["delta"].get("content") or "" for choice in choices),
        stop=own[0]["stop"] if own else None,
        num_ends=sum(event.data == "[DONE]" for event in events),
    )


def _anthropic_body(asked: Asked) -> Json:
    thinking: Json = {"type": "disabled"}
    if asked.budget:
        thinking = {"type": "enabled", "budget_tokens": asked.budget}
    return _messages(asked) | {
        "model": asked.model,
        "max_tokens": asked.budget + ANSWER_ROOM,
        "thinking": thinking,
        **_sampling(asked),
    }


def _anthropic_streamed(events: Sequence[sse.ServerSentEvent]) -> Reply:
    said = [json.loads(event.data) for event in events]
    deltas = [event["delta"] for event in said if event["type"] == "content_block_delta"]
    own = [event["anytime"] for event in said if "anytime" in event]
    return Reply(
        answer="".join(delta["text"] for delta in deltas if delta["type"] == "text_delta"),
        stop=own[0]["stop"] if own else None,
        num_ends=sum(event["type"] == "message_stop" for event in said),
    )


def _responses_body(asked: Asked) -> Json:
    return {
        "model": asked.model,
        "input": asked.prompt,
        "thinking_token_budget": asked.budget,
        **_sampling(asked),
    }


def _responses_text(response: Json) -> str:
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(part["text"] for part in parts if part["type"] == "output_text")


def _responses_streamed(events: Sequence[sse.ServerSentEvent]) -> Reply:
    said = [json.loads(event.data) for event in events]
    last = [event for event in said if event["type"] in ("response.completed", "response.incomplete")]
    return Reply(
        answer="".join(event["delta"] for event in said if event["type"] == "response.output_text.delta"),
        stop=last[0]["response"]["anytime"]["stop"] if last else None,
        num_ends=len(last),
    )


DIALECTS = (
    Dialect(
        name="native",
        path="/v1/anytime",
        body=_native_body,
        whole=lambda body: Reply(answer=body["answer"], stop=body["stop"], num_ends=1),
        streamed=_native_streamed,
    ),
    Dialect(
        name="chat completions",
        path="/v1/chat/completions",
        body=_chat_body,
        whole=lambda body: Reply(
            answer=body["choices"][0]["message"]["content"] or "", stop=body["anytime"]["stop"], num_ends=1
        ),
        streamed=_chat_streamed,
    ),
    Dialect(
        name="messages",
        path="/v1/messages",
        body=_anthropic_body,
        whole=lambda body: Reply(
            answer="".join(block["text"] for block in body["content"] if block["type"] == "text"),
            stop=body["anytime"]["stop"],
            num_ends=1,
        ),
        streamed=_anthropic_streamed,
    ),
    Dialect(
        name="responses",
        path="/v1/responses",
        body=_responses_body,
        whole=lambda body: Reply(answer=_responses_text(body), stop=body["anytime"]["stop"], num_ends=1),
        streamed=_responses_streamed,
    ),
)
