"""The server's four dialects, for measurements that check every response.

`anytime bench` has two of them; the other two, the whole responses and the checks are here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from anytime_client.bench import dialects as client
from anytime_client.bench.dialects import Ask, Dialect, Timed, Told
from anytime_client.sse import ServerSentEvent

ANSWER_TOKENS = 100
"""Room for the answer in a dialect that limits thinking and answer together."""
FAULTS = ("blank", "over_budget", "think_tokens", "not_ended")
"""Names of the faults that `faults_of` finds."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiDialect:
    """A dialect of the server."""

    name: str
    base: Dialect
    ends: Callable[[ServerSentEvent], bool]
    """Whether an event completes the stream."""
    answer: Callable[[Json], str]
    """The answer in a whole response."""

    def body(self, ask: Ask, prompt: str, seed: int, *, streamed: bool) -> Json:
        """The body of a request."""
        body = self.base.body(ask, prompt, seed) | {"stream": streamed}
        if not streamed:
            body.pop("stream_options", None)
        return body

    def read_stream(self, events: Timed) -> tuple[Told, int]:
        """The content of a stream, and how often it was completed."""
        return self.base.read(events), sum(self.ends(event) for _, event in events)

    def read_whole(self, body: Json) -> tuple[Told, int]:
        """The content of a whole response, which is completed once."""
        stop = body["stop"] if self.name == "native" else body["anytime"]["stop"]
        answer = self.answer(body)
        return Told(answer=answer, thinking_tokens=stop["thinking_tokens"], cause=stop["cause"]), 1


def at_temperature(name: str, temperature: float | None) -> Json:
    """Fields that set the temperature: of the answer, and outside the native dialect of the thinking too."""
    if temperature is None:
        return {}
    return {"answer": {"temperature": temperature}} if name == "native" else {"temperature": temperature}


def faults_of(told: Told, num_ends: int, *, budget: int, marks: Sequence[str] = ()) -> list[str]:
    """Names of the faults of a response, of `FAULTS`.

    Args:
        budget: maximum number of thinking tokens that the response may have.
        marks: texts that begin and end thinking, which no answer may contain.
    """
    is_found = {
        "blank": not told.answer.strip(),
        "over_budget": (told.thinking_tokens or 0) > budget,
        "think_tokens": any(mark in told.answer for mark in marks),
        "not_ended": num_ends != 1 or told.cause is None,
    }
    return [name for name in FAULTS if is_found[name]]


def _messages_body(ask: Ask, prompt: str, seed: int) -> Json:
    thinking = {"type": "enabled", "budget_tokens": ask.budget} if ask.budget else {"type": "disabled"}
    return {
        "model": ask.model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": (ask.budget or 0) + ANSWER_TOKENS,
        "thinking": thinking,
        **ask.more,
    }


def _read_messages(events: Timed) -> Told:
    told = Told()
    for at, event in events:
        fields = json.loads(event.data)
        delta = fields.get("delta", {})
        if delta.get("type") == "thinking_delta":
            told.thinking_s.append(at)
        elif delta.get("type") == "text_delta":
            told.answer_s.append(at)
            told.answer += delta["text"]
        _read_stop(told, fields)
    return told


def _responses_body(ask: Ask, prompt: str, seed: int) -> Json:
    return {"model": ask.model, "input": prompt, "thinking_token_budget": ask.budget, **ask.more}


def _read_responses(events: Timed) -> Told:
    told = Told()
    for at, event in events:
        fields = json.loads(event.data)
        if fields["type"] == "response.output_text.delta":
            told.answer_s.append(at)
            told.answer += fields["delta"]
        _read_stop(told, fields.get("response", {}))
    return told


def _read_stop(told: Told, fields: Json) -> None:
    if own := fields.get("anytime"):
        told.cause, told.thinking_tokens = own["stop"]["cause"], own["stop"]["thinking_tokens"]


def _output_text(response: Json) -> str:
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(part["text"] for part in parts if part["type"] == "output_text")


def _has_type(*types: str) -> Callable[[ServerSentEvent], bool]:
    return lambda event: json.loads(event.data)["type"] in types


API_DIALECTS = (
    ApiDialect(
        name="native",
        base=client.DIALECTS["native"],
        ends=_has_type("done"),
        answer=lambda body: body["answer"],
    ),
    ApiDialect(
        name="chat completions",
        base=client.DIALECTS["openai"],
        ends=lambda event: event.data == "[DONE]",
        answer=lambda body: body["choices"][0]["message"]["content"] or "",
    ),
    ApiDialect(
        name="messages",
        base=Dialect(path="/v1/messages", body=_messages_body, read=_read_messages),
        ends=_has_type("message_stop"),
        answer=lambda body: "".join(block["text"] for block in body["content"] if block["type"] == "text"),
    ),
    ApiDialect(
        name="responses",
        base=Dialect(path="/v1/responses", body=_responses_body, read=_read_responses),
        ends=_has_type("response.completed", "response.incomplete"),
        answer=_output_text,
    ),
)
