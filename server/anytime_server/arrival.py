"""How a request came: when, from whom, as part of what."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from anytime_server.access import Account


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What is known of a request before its body is read."""

    at: float = field(default_factory=time.monotonic)
    """`time.monotonic()` when it came in; deadlines count from here."""
    request_id: str | None = None
    """The client's own `X-Request-Id`, or one that the server made up; None without HTTP."""
    account: Account | None = None
    """Who asks, as the API key tells; None where no keys are asked for."""
    traceparent: str | None = None
    """W3C trace context: what the request is a part of."""
    tracestate: str | None = None
    """The same, as the vendors of the client's tracing put it."""

    @property
    def client(self) -> str:
        """Name of who asks; empty where no keys are asked for."""
        return self.account.name if self.account else ""

    def is_from(self, account: Account | None) -> bool:
        """Whether that account asked; by name, since keys can be read anew."""
        return (self.account and self.account.name) == (account and account.name)
