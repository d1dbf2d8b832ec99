"""OpenAI's chat completions, for clients that exist."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import ConfigDict, StrictBool, StrictStr

from anytime_server import events
from anytime_server.api.effort import BudgetAliases
from anytime_server.api.fields import AtLeastOne, Budget, BudgetFields, Fields, Seed, Temperature, TopP
from anytime_server.api.messages import Conversation
from anytime_server.api.respond import collect, stream
from anytime_server.errors import AnytimeError, InvalidRequest, NotSupported, UnknownModel
from anytime_server.service import Question, Service

NOT_SERVED = {
    "n": (None, 1),
    "stop": (None, []),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "response_format": (None, {"type": "text"}),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "logit_bias": (None, {}),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
}
"""Fields of OpenAI's that this version cannot honour, with the values that ask for nothing."""


class StreamOptions(Fields):
    include_usage: StrictBool = False
    include_obfuscation: StrictBool = False


class AnytimeFields(Fields):
    """What OpenAI's fields cannot say."""

    budget: Budget = None
    """As in the native dialect: tokens, or an object with `tokens` and `deadline_ms`."""


class ChatRequest(Conversation, BudgetAliases):
    """A chat completion; every alias of the thinking budget is understood."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    model: StrictStr
    max_tokens: AtLeastOne | None = None
    """The most tokens of thinking and answer together; the answer's share is kept for it."""
    max_completion_tokens: AtLeastOne | None = None
    """The newer name of `max_tokens`."""
    temperature: Temperature | None = None
    """Of thinking and answer; default 0.6 for thinking and 0 for the answer."""
    top_p: TopP | None = None
    seed: Seed | None = None
    stream: StrictBool = False
    stream_options: StreamOptions | None = None
    include_reasoning: StrictBool = True
    """vLLM's way to leave the thinking out of the response."""
    anytime: AnytimeFields | None = None

    # No effect on what is sampled.
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    parallel_tool_calls: Any = None

    # Named so that they are refused for what they ask, not as unknown.
    n: Any = None
    stop: Any = None
    tools: Any = None
    tool_choice: Any = None
    response_format: Any = None
    logprobs: Any = None
    top_logprobs: Any = None
    logit_bias: Any = None
    presence_penalty: Any = None
    frequency_penalty: Any = None

    @property
    def shows_thinking(self) -> bool:
        return self.include_reasoning and not (self.reasoning is not None and self.reasoning.exclude)

    def question(self, service: Service, *, arrived_at: float) -> Question:
        """The request in no dialect.

        Raises:
            NotSupported, InvalidRequest: naming the field.
        """
        for field, harmless in NOT_SERVED.items():
            if getattr(self, field) not in harmless:
                raise NotSupported(f"{field} is not served by this version", field=field)
        total_tokens = self._total_tokens(service.engine.window_tokens)
        anytime_budget = (self.anytime and self.anytime.budget) or BudgetFields()
        budget_tokens = self.budget(
            available_tokens=total_tokens or service.engine.window_tokens,
            more={} if anytime_budget.tokens is None else {"anytime.budget": anytime_budget.tokens},
            window_tokens=service.engine.window_tokens,
        )
        answer_tokens = service.default_answer_tokens
        if total_tokens is not None:
            most_thinking = total_tokens - min(answer_tokens, total_tokens)
            if budget_tokens is None or budget_tokens >= most_thinking:
                answer_tokens, budget_tokens = total_tokens - most_thinking, most_thinking
            else:
                answer_tokens = total_tokens - budget_tokens
        return Question(
            messages=self.turns(),
            model=self.model,
            budget_tokens=budget_tokens,
            deadline_s=anytime_budget.deadline_s,
            answer_tokens=answer_tokens,
            thinking_temperature=0.6 if self.temperature is None else self.temperature,
            thinking_top_p=0.95 if self.top_p is None else self.top_p,
            answer_temperature=self.temperature or 0.0,
            answer_top_p=1.0 if self.top_p is None else self.top_p,
            seed=self.seed,
            id_prefix="chatcmpl",
            arrived_at=arrived_at,
        )

    def _total_tokens(self, window_tokens: int) -> int | None:
        asked = {
            field: tokens
            for field in ("max_tokens", "max_completion_tokens")
            if (tokens := getattr(self, field)) is not None
        }
        if len(set(asked.values())) > 1:
            raise InvalidRequest("max_tokens and max_completion_tokens differ; give one", field="max_tokens")
        for field, tokens in asked.items():
            if tokens > window_tokens:
                raise InvalidRequest(
                    f"{field} of {tokens} is more than the model's window of {window_tokens}", field=field
                )
            return tokens
        return None


class ChatChunks:
    """A session's events as `chat.completion.chunk`s."""

    def __init__(self, *, shows_thinking: bool, shows_usage: bool) -> None:
        self._shows_thinking = shows_thinking
        self._shows_usage = shows_usage
        self._head: dict[str, Any] = {}
        self._finish_reason = "stop"

    def encode(self, batch: Sequence[events.Event]) -> bytes:
        return b"".join(b"data: " + data + b"\n\n" for event in batch for data in self._chunks(event))

    def _chunks(self, event: events.Event) -> list[bytes]:
        match event:
            case events.Started():
                self._head = {
                    "id": event.id,
                    "object": "chat.completion.chunk",
                    "created": int(time.time()),
                    "model": event.model,
                }
                return [self._chunk({"role": "assistant", "content": ""})]
            case events.ThinkingDelta() if self._shows_thinking and event.text:
                # Both names are in use; a client reads the one it knows.
                return [self._chunk({"reasoning_content": event.text, "reasoning": event.text})]
            case events.AnswerDelta():
                return [self._chunk({"content": event.text})]
            case events.AnswerDone():
                self._finish_reason = event.finish_reason
                return []
            case events.Done():
                last = self._chunk({}, finish_reason=self._finish_reason, anytime=_anytime(event))
                if not self._shows_usage:
                    return [last, b"[DONE]"]
                usage = _json({**self._head, "choices": [], "usage": _usage(event.usage)})
                return [last, usage, b"[DONE]"]
            case events.ErrorEvent(error=error):
                return [_json({"error": _error(error.message, error.code, error.field, 500)})]
            case _:
                return []

    def _chunk(self, delta: dict[str, Any], *, finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _json({**self._head, "choices": [choice], **more})


def completion(said: Sequence[events.Event], *, shows_thinking: bool) -> dict[str, Any]:
    """A session's events as one `chat.completion`."""
    started, done = said[0], said[-1]
    assert isinstance(started, events.Started)
    assert isinstance(done, events.Done)
    message: dict[str, Any] = {"role": "assistant", "content": done.answer, "refusal": None}
    if shows_thinking:
        thinking = "".join(event.text for event in said if isinstance(event, events.ThinkingDelta))
        message |= {"reasoning_content": thinking, "reasoning": thinking}
    finish_reason = next(event.finish_reason for event in said if isinstance(event, events.AnswerDone))
    return {
        "id": done.id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": started.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}],
        "usage": _usage(done.usage),
        "anytime": _anytime(done),
    }


def error_response(error: AnytimeError) -> JSONResponse:
    """An error as OpenAI tells it; a refused request is 400."""
    status = 400 if error.status == 422 else error.status
    code = "model_not_found" if isinstance(error, UnknownModel) else error.code
    param = "max_tokens" if error.field == "answer.max_tokens" else error.field
    return JSONResponse({"error": _error(str(error), code, param, status)}, status_code=status)


def router(service: Service) -> APIRouter:
    """The endpoints of this dialect."""
    routes = APIRouter(prefix="/v1", tags=["openai"])

    @routes.post("/chat/completions")
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """A chat completion whose thinking keeps to a budget."""
        session = service.open(body.question(service, arrived_at=request.state.arrived_at))
        if body.stream:
            options = body.stream_options or StreamOptions()
            chunks = ChatChunks(shows_thinking=body.shows_thinking, shows_usage=options.include_usage)
            return stream(session, chunks.encode)
        said = await collect(session, request)
        return JSONResponse(
            completion(said, shows_thinking=body.shows_thinking),
            headers={"X-Request-Id": session.request.id},
        )

    return routes


def _usage(usage: events.Usage) -> dict[str, Any]:
    completion_tokens = usage.thinking_tokens + usage.answer_tokens
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": usage.prompt_tokens + completion_tokens,
        "completion_tokens_details": {"reasoning_tokens": usage.thinking_tokens},
    }


def _anytime(done: events.Done) -> dict[str, Any]:
    return {"stop": done.stop.model_dump(mode="json"), "timing": done.timing.model_dump()}


def _error(message: str, code: str, field: str | None, status: int) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"message": message, "type": kind, "param": field, "code": code}


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
