"""What is left of an account's limits, in the headers of each dialect. Counts nothing itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from anytime_server.auth import Account

OPENAI = "x-ratelimit"
ANTHROPIC = "anthropic-ratelimit"
EXPOSED = (
    "RateLimit",
    "RateLimit-Policy",
    *(f"{OPENAI}-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")),
    *(
        f"{ANTHROPIC}-{of}-{what}"
        for what in ("limit", "remaining", "reset")
        for of in ("requests", "tokens")
    ),
)
"""All of them, for pages of other origins."""


def native(account: Account) -> dict[str, str]:
    """`RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers."""
    policies: list[str] = []
    left: list[str] = []
    for name, bucket, unit in (
        ("requests", account.requests, ""),
        ("thinking-tokens", account.thinking_tokens, ';qu="thinking-tokens"'),
    ):
        if bucket is not None:
            policies.append(f'"{name}";q={bucket.limit};w=60{unit}')
            left.append(f'"{name}";r={bucket.remaining};t={math.ceil(bucket.full_in_s)}')
    if account.concurrency is not None:
        policies.append(f'"concurrency";q={account.concurrency};qu="concurrent-requests"')
        left.append(f'"concurrency";r={max(0, account.concurrency - account.num_under_way)}')
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(left)} if policies else {}


def openai(account: Account) -> dict[str, str]:
    """OpenAI's, whose times are durations."""
    left = _left(account, _duration)
    return {f"{OPENAI}-{what}-{of}": value for of, what, value in left}


def anthropic(account: Account) -> dict[str, str]:
    """Anthropic's, whose times are points in time (RFC 3339)."""
    left = _left(account, lambda seconds: _time_in(math.ceil(seconds)))
    return {f"{ANTHROPIC}-{of}-{what}": value for of, what, value in left}


def _left(account: Account, reset: Callable[[float], str]) -> Iterator[tuple[str, str, str]]:
    """What is limited, which figure of it, and that.

    Args:
        reset: writes the time in so many seconds.
    """
    for of, bucket in (("requests", account.requests), ("tokens", account.thinking_tokens)):
        if bucket is not None:
            yield of, "limit", str(bucket.limit)
            yield of, "remaining", str(bucket.remaining)
            yield of, "reset", reset(bucket.full_in_s)


def _duration(seconds: float) -> str:
    return f"{math.ceil(seconds * 1000)}ms" if seconds < 1 else f"{math.ceil(seconds * 1000) / 1000:g}s"


def _time_in(seconds: int) -> str:
    return f"{datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"
