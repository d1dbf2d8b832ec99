"""The limits that an API key can have, and what a request counts towards them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from anytime_server.auth.request_limits import RequestLimits

Unit = Literal["requests", "thinking_tokens", "tokens"]
Amount = Annotated[int, Field(ge=1, le=10**15)]


class Limits(RequestLimits):
    """The limits of a key, and of each of its requests; None for no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    concurrency: Amount | None = None
    """Maximum number of concurrent requests."""
    max_waiting: Annotated[int, Field(ge=0, le=10**15)] | None = None
    """Maximum number of requests that wait for a slot; by default half of the room that others leave."""
    requests_per_minute: Amount | None = None
    """Maximum number of requests per minute."""
    requests_per_day: Amount | None = None
    """Maximum number of requests per day."""
    tokens_per_minute: Amount | None = None
    """Maximum number of sampled tokens per minute, of thinking, answers and early answers together; a running
    request counts with the most that it may sample."""
    tokens_per_day: Amount | None = None
    """Maximum number of sampled tokens per day."""
    thinking_tokens_per_minute: Amount | None = None
    """Maximum number of thinking tokens per minute; a running request counts with its whole budget."""


@dataclass(frozen=True, slots=True)
class Quota:
    """A limit over a period: a field of `Limits`."""

    name: str
    unit: Unit
    period: Literal["minute", "day"]

    @property
    def period_s(self) -> int:
        return 60 if self.period == "minute" else 86_400

    @property
    def noun(self) -> str:
        """The unit in a sentence."""
        return self.unit.replace("_", " ")


QUOTAS = (
    Quota("requests_per_minute", "requests", "minute"),
    Quota("requests_per_day", "requests", "day"),
    Quota("tokens_per_minute", "tokens", "minute"),
    Quota("tokens_per_day", "tokens", "day"),
    Quota("thinking_tokens_per_minute", "thinking_tokens", "minute"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The requests and tokens of a session, or the most that it may need."""

    requests: int = 1
    thinking_tokens: int
    tokens: int
    """All sampled tokens: of thinking, answers and early answers."""

    def of(self, unit: Unit) -> int:
        return getattr(self, unit)

    def times(self, number: int) -> Cost:
        return Cost(
            requests=number * self.requests,
            thinking_tokens=number * self.thinking_tokens,
            tokens=number * self.tokens,
        )

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            requests=self.requests + other.requests,
            thinking_tokens=self.thinking_tokens + other.thinking_tokens,
            tokens=self.tokens + other.tokens,
        )

    def __sub__(self, other: Cost) -> Cost:
        return self + other.times(-1)
