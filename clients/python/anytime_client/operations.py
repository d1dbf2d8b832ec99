"""The operations of the HTTP API: requests, and the parsing of their responses. Does no IO."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, ConfigDict, ValidationError

from anytime_client.errors import RequestRefused
from anytime_client.options import Messages, Options, request_body

Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[Parsed]):
    """One request to the API."""

    method: str
    path: str
    body: Any = None
    """Sent as JSON."""
    streams: bool = False
    """A successful response is parsed before its body is read."""
    parse: Callable[[httpx2.Response], Parsed]
    """Turns the response into the operation's result. Raises RequestRefused."""


class Model(BaseModel):
    """A model that the server serves."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    id: str
    """Its name in requests."""
    max_model_len: int | None = None
    """Tokens of its context window; None while the model is loading."""
    anytime: dict[str, Any]
    """Its manifest: how it thinks, the budgets it was trained for, its accuracy at each, examples."""


class _Models(BaseModel):
    data: list[Model]


class _Extended(BaseModel):
    budget_tokens: int


def think(messages: Messages, options: Options) -> Operation[httpx2.Response]:
    """Start a session. The result is the response, whose body is the event stream."""
    return Operation(
        method="POST",
        path="/v1/anytime",
        body=request_body(messages, options),
        streams=True,
        parse=_raise_for_status,
    )


def answer_now(session_id: str) -> Operation[bool]:
    """Stop the thinking. The result is False if the session is answering already or has ended."""

    def parse(response: httpx2.Response) -> bool:
        return response.status_code not in (404, 409) and _raise_for_status(response).is_success

    return Operation(method="POST", path=f"{_path(session_id)}/answer", parse=parse)


def extend(session_id: str, tokens: int) -> Operation[int]:
    """Raise the budget by `tokens`. The result is the new budget."""
    return Operation(
        method="POST",
        path=f"{_path(session_id)}/extend",
        body={"tokens": tokens},
        parse=lambda response: _parse_json(_Extended, response).budget_tokens,
    )


def cancel(session_id: str) -> Operation[None]:
    """Cancel a session. A session that has ended already is no error."""

    def parse(response: httpx2.Response) -> None:
        if response.status_code != 404:
            _raise_for_status(response)

    return Operation(method="DELETE", path=_path(session_id), parse=parse)


def models() -> Operation[Sequence[Model]]:
    """List the models."""
    return Operation(
        method="GET", path="/v1/models", parse=lambda response: _parse_json(_Models, response).data
    )


Body = TypeVar("Body", bound=BaseModel)


def _parse_json(model: type[Body], response: httpx2.Response) -> Body:
    try:
        return model.model_validate_json(_raise_for_status(response).content)
    except ValidationError as error:
        message = f"the server at {response.url} is not an Anytime server"
        raise RequestRefused(message, status=response.status_code) from error


def _path(session_id: str) -> str:
    return f"/v1/anytime/{quote(session_id, safe='')}"


def _raise_for_status(response: httpx2.Response) -> httpx2.Response:
    if response.is_success:
        return response
    try:
        error: Any = response.json()["error"]
        message, code, field = str(error["message"]), error.get("code"), error.get("field")
    except (ValueError, KeyError, TypeError, AttributeError):  # not our server's body: a proxy's, perhaps
        message, code, field = f"HTTP {response.status_code}", None, None
        if response.headers.get("Content-Type", "").startswith("text/plain") and response.text:
            message = f"{message}: {response.text}"
    raise RequestRefused(
        message,
        status=response.status_code,
        code=code,
        field=field,
        request_id=response.headers.get("X-Request-Id"),
        retry_after_s=_retry_after_s(response.headers.get("Retry-After", "")),
    )


def _retry_after_s(header: str) -> float | None:
    """Seconds from a number or a date (RFC 9110, section 10.2.3); None if it is neither."""
    try:
        if header.isdecimal():
            return float(header)
        return max(parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except ValueError:
        return None
