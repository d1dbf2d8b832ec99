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
from anytime_server.api.respond import Transcript, collect, stream
from anytime_server.errors import AnytimeError, InvalidRequest, NotSupported, UnknownModel
from anytime_server.service import (
    ANSWER_TEMPERATURE,
    ANSWER_TOP_P,
    THINKING_TEMPERATURE,
    THINKING_TOP_P,
    Question,
    Service,
)

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
    "repetition_penalty": (None, 1),
    "top_k": (None, -1, 0),
    "min_p": (None, 0),
    "verbosity": (None, "medium"),
    "modalities": (None, ["text"]),
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
    """The most tokens of thinking and answer together; enough of them for an answer are kept for it."""
    max_completion_tokens: AtLeastOne | None = None
    """The newer name of `max_tokens`."""
    temperature: Temperature | None = None
    """Of thinking and answer; each has a default of its own."""
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
    repetition_penalty: Any = None
    top_k: Any = None
    min_p: Any = None
    verbosity: Any = None
    modalities: Any = None

    @property
    def shows_thinking(self) -> bool:
        return self.include_reasoning and not (self.reasoning is not None and self.reasoning.exclude)

    def question(self, service: Service, *, arrived_at: float) -> Question:
        """The request in no dialect.

        Raises:
            NotSupported, InvalidRequest: naming the field.
        """
        for field, harmless in NOT_SERVED.items():
            value = getattr(self, field)
            if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in harmless):
                raise NotSupported(f"{field} is not served by this version", field=field)
        window_tokens = service.engine.window_tokens
        total_tokens = self._total_tokens(window_tokens)
        anytime_budget = (self.anytime and self.anytime.budget) or BudgetFields()
        return Question(
            messages=self.turns(),
            model=self.model,
            budget_tokens=self.budget(
                available_tokens=total_tokens or window_tokens,
                more={} if anytime_budget.tokens is None else {"anytime.budget": anytime_budget.tokens},
                window_tokens=window_tokens,
            ),
            total_tokens=total_tokens,
            deadline_s=anytime_budget.deadline_s,
            thinking_temperature=_first(self.temperature, THINKING_TEMPERATURE),
            thinking_top_p=_first(self.top_p, THINKING_TOP_P),
            answer_temperature=_first(self.temperature, ANSWER_TEMPERATURE),
            answer_top_p=_first(self.top_p, ANSWER_TOP_P),
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


def completion(transcript: Transcript, *, shows_thinking: bool) -> dict[str, Any]:
    """A session as one `chat.completion`."""
    done, finish_reason = transcript.done, transcript.answers[-1].finish_reason
    message: dict[str, Any] = {"role": "assistant", "content": done.answer, "refusal": None}
    if shows_thinking:
        message |= {"reasoning_content": transcript.thinking, "reasoning": transcript.thinking}
    return {
        "id": done.id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": transcript.model,
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
        service.require_ready()  # before the window is looked at, which is not known until then
        session = await service.open(body.question(service, arrived_at=request.state.arrived_at))
        if body.stream:
            options = body.stream_options or StreamOptions()
            chunks = ChatChunks(shows_thinking=body.shows_thinking, shows_usage=options.include_usage)
            return stream(session, chunks.encode)
        transcript = await collect(session, request)
        return JSONResponse(
            completion(transcript, shows_thinking=body.shows_thinking),
            headers={"X-Request-Id": session.request.id},
        )

    return routes


def _first(given: float | None, default: float) -> float:
    return default if given is None else given


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
