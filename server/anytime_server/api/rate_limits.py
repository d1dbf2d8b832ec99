"""What is left of an account's limits, in the headers of each dialect. Counts nothing itself."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from anytime_server.access import Account
from anytime_server.access.bucket import Bucket

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
    return {
        f"{OPENAI}-{what}-{of}": value
        for of, bucket in _buckets(account).items()
        for what, value in {
            "limit": str(bucket.limit),
            "remaining": str(bucket.remaining),
            "reset": _duration(bucket.full_in_s),
        }.items()
    }


def anthropic(account: Account) -> dict[str, str]:
    """Anthropic's, whose times are points in time (RFC 3339)."""
    return {
        f"{ANTHROPIC}-{of}-{what}": value
        for of, bucket in _buckets(account).items()
        for what, value in {
            "limit": str(bucket.limit),
            "remaining": str(bucket.remaining),
            "reset": _time_in(math.ceil(bucket.full_in_s)),
        }.items()
    }


def _buckets(account: Account) -> dict[str, Bucket]:
    both = {"requests": account.requests, "tokens": account.thinking_tokens}
    return {of: bucket for of, bucket in both.items() if bucket is not None}


def _duration(seconds: float) -> str:
    return f"{math.ceil(seconds * 1000)}ms" if seconds < 1 else f"{math.ceil(seconds * 1000) / 1000:g}s"


def _time_in(seconds: int) -> str:
    return f"{datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"
