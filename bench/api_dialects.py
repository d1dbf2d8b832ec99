"""The server's four dialects, for measurements that check every response.

`anytime bench` has two of them; the other two, the whole responses and the checks are here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from anytime_client.bench import dialects as client
from anytime_client.bench.dialects import Dialect, ParsedStream, RequestTemplate, TimedEvents
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

    def body(self, template: RequestTemplate, prompt: str, seed: int, *, streamed: bool) -> Json:
        """The body of a request."""
        body = self.base.body(template, prompt, seed) | {"stream": streamed}
        if not streamed:
            body.pop("stream_options", None)
        return body

    def read_stream(self, events: TimedEvents) -> tuple[ParsedStream, int]:
        """The content of a stream, and how often it was completed."""
        return self.base.parse(events), sum(self.ends(event) for _, event in events)

    def read_whole(self, body: Json) -> tuple[ParsedStream, int]:
        """The content of a whole response, which is completed once."""
        stop = body["stop"] if self.name == "native" else body["anytime"]["stop"]
        answer = self.answer(body)
        return ParsedStream(answer=answer, thinking_tokens=stop["thinking_tokens"], cause=stop["cause"]), 1


def at_temperature(name: str, temperature: float | None) -> Json:
    """Fields that set the temperature: of the answer, and outside the native dialect of the thinking too."""
    if temperature is None:
        return {}
    return {"answer": {"temperature": temperature}} if name == "native" else {"temperature": temperature}


def faults_of(stream: ParsedStream, num_ends: int, *, budget: int, marks: Sequence[str] = ()) -> list[str]:
    """Names of the faults of a response, of `FAULTS`.

    Args:
        budget: maximum number of thinking tokens that the response may have.
        marks: texts that begin and end thinking, which no answer may contain.
    """
    is_found = {
        "blank": not stream.answer.strip(),
        "over_budget": (stream.thinking_tokens or 0) > budget,
        "think_tokens": any(mark in stream.answer for mark in marks),
        "not_ended": num_ends != 1 or stream.cause is None,
    }
    return [name for name in FAULTS if is_found[name]]


def _messages_body(template: RequestTemplate, prompt: str, seed: int) -> Json:
    thinking = (
        {"type": "enabled", "budget_tokens": template.budget} if template.budget else {"type": "disabled"}
    )
    return {
        "model": template.model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": (template.budget or 0) + ANSWER_TOKENS,
        "thinking": thinking,
        **template.extra_fields,
    }


def _parse_messages(events: TimedEvents) -> ParsedStream:
    stream = ParsedStream()
    for at, event in events:
        fields = json.loads(event.data)
        delta = fields.get("delta", {})
        if delta.get("type") == "thinking_delta":
            stream.thinking_s.append(at)
        elif delta.get("type") == "text_delta":
            stream.answer_s.append(at)
            stream.answer += delta["text"]
        _read_stop(stream, fields)
    return stream


def _responses_body(template: RequestTemplate, prompt: str, seed: int) -> Json:
    return {
        "model": template.model,
        "input": prompt,
        "thinking_token_budget": template.budget,
        **template.extra_fields,
    }


def _parse_responses(events: TimedEvents) -> ParsedStream:
    stream = ParsedStream()
    for at, event in events:
        fields = json.loads(event.data)
        if fields["type"] == "response.output_text.delta":
            stream.answer_s.append(at)
            stream.answer += fields["delta"]
        _read_stop(stream, fields.get("response", {}))
    return stream


def _read_stop(stream: ParsedStream, fields: Json) -> None:
    if own := fields.get("anytime"):
        stream.cause, stream.thinking_tokens = own["stop"]["cause"], own["stop"]["thinking_tokens"]


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
        base=Dialect(path="/v1/messages", body=_messages_body, parse=_parse_messages),
        ends=_has_type("message_stop"),
        answer=lambda body: "".join(block["text"] for block in body["content"] if block["type"] == "text"),
    ),
    ApiDialect(
        name="responses",
        base=Dialect(path="/v1/responses", body=_responses_body, parse=_parse_responses),
        ends=_has_type("response.completed", "response.incomplete"),
        answer=_output_text,
    ),
)
