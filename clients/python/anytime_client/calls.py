"""The requests that there are, each with what its response means. Does no IO, and knows neither twin."""

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
from anytime_client.options import Messages, Options, body

Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[Outcome]):
    """One request."""

    method: str
    path: str
    body: Any = None
    """To be sent as JSON."""
    streams: bool = False
    """The body of a good response is not read yet when the outcome is asked for."""
    outcome: Callable[[httpx2.Response], Outcome]
    """What the response says. Raises RequestRefused."""


class Model(BaseModel):
    """A model that the server has."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    id: str
    """Its name in requests."""
    max_model_len: int | None = None
    """Its window, in tokens; None while it is loading."""
    anytime: dict[str, Any]
    """Its manifest: how it thinks, the budgets that it was trained for, its accuracy at each, examples."""


class _Models(BaseModel):
    data: list[Model]


class _Extended(BaseModel):
    budget_tokens: int


def think(messages: Messages, options: Options) -> Call[httpx2.Response]:
    """Open a session. The outcome is its stream."""
    return Call(
        method="POST", path="/v1/anytime", body=body(messages, options), streams=True, outcome=_accepted
    )


def answer_now(session_id: str) -> Call[bool]:
    """False where there is no thinking to stop: it answers, or has ended."""

    def outcome(response: httpx2.Response) -> bool:
        return response.status_code not in (404, 409) and _accepted(response).is_success

    return Call(method="POST", path=f"{_path(session_id)}/answer", outcome=outcome)


def extend(session_id: str, tokens: int) -> Call[int]:
    """The outcome is the new budget."""
    return Call(
        method="POST",
        path=f"{_path(session_id)}/extend",
        body={"tokens": tokens},
        outcome=lambda response: _read(_Extended, response).budget_tokens,
    )


def cancel(session_id: str) -> Call[None]:
    """A session that has ended is cancelled enough."""

    def outcome(response: httpx2.Response) -> None:
        if response.status_code != 404:
            _accepted(response)

    return Call(method="DELETE", path=_path(session_id), outcome=outcome)


def models() -> Call[Sequence[Model]]:
    """What is served."""
    return Call(method="GET", path="/v1/models", outcome=lambda response: _read(_Models, response).data)


Body = TypeVar("Body", bound=BaseModel)


def _read(model: type[Body], response: httpx2.Response) -> Body:
    try:
        return model.model_validate_json(_accepted(response).content)
    except ValidationError as error:
        message = f"what answers at {response.url} is no server of this kind"
        raise RequestRefused(message, status=response.status_code) from error


def _path(session_id: str) -> str:
    return f"/v1/anytime/{quote(session_id, safe='')}"


def _accepted(response: httpx2.Response) -> httpx2.Response:
    if response.is_success:
        return response
    try:
        error: Any = response.json()["error"]
        message, code, field = str(error["message"]), error.get("code"), error.get("field")
    except (ValueError, KeyError, TypeError, AttributeError):  # somebody else's: a proxy's, perhaps
        message, code, field = f"HTTP {response.status_code}", None, None
    raise RequestRefused(
        message,
        status=response.status_code,
        code=code,
        field=field,
        request_id=response.headers.get("X-Request-Id"),
        retry_after_s=_retry_after_s(response.headers.get("Retry-After", "")),
    )


def _retry_after_s(header: str) -> float | None:
    """Seconds, given as a number or as a date (RFC 9110, section 10.2.3)."""
    try:
        return float(header) if header.isdecimal() else max(_unix(header) - time.time(), 0.0)
    except ValueError:
        return None


def _unix(date: str) -> float:
    return parsedate_to_datetime(date).timestamp()
