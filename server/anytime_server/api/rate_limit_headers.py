"""Response headers with the rate limits of an account, in each dialect."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from anytime_server.auth import Account

OPENAI = "x-ratelimit"
ANTHROPIC = "anthropic-ratelimit"
VALUES, UNITS = ("limit", "remaining", "reset"), ("requests", "tokens")
EXPOSED = (
    "RateLimit",
    "RateLimit-Policy",
    *(f"{OPENAI}-{value}-{unit}" for value in VALUES for unit in UNITS),
    *(f"{ANTHROPIC}-{unit}-{value}" for value in VALUES for unit in UNITS),
)
"""All of these headers; web pages of other origins may read them."""


def native(account: Account) -> dict[str, str]:
    """`RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers."""
    policies: list[str] = []
    remaining: list[str] = []
    for quota, bucket in account.quotas.items():
        unit = quota.unit.replace("_", "-")
        name = unit if quota.period == "minute" else f"{unit}-per-{quota.period}"
        counted = "" if unit == "requests" else f';qu="{unit}"'  # the draft's default is requests
        policies.append(f'"{name}";q={bucket.limit};w={bucket.period_s}{counted}')
        remaining.append(f'"{name}";r={bucket.remaining};t={math.ceil(bucket.full_in_s)}')
    if (concurrency := account.limits.concurrency) is not None:
        policies.append(f'"concurrency";q={concurrency};qu="concurrent-requests"')
        remaining.append(f'"concurrency";r={max(0, concurrency - account.num_under_way)}')
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(remaining)} if policies else {}


def openai(account: Account) -> dict[str, str]:
    """OpenAI's headers; times are durations."""
    return {f"{OPENAI}-{name}-{unit}": value for unit, name, value in _values(account, _duration)}


def anthropic(account: Account) -> dict[str, str]:
    """Anthropic's headers; times are points in time (RFC 3339)."""
    values = _values(account, lambda seconds: _time_in(math.ceil(seconds)))
    return {f"{ANTHROPIC}-{unit}-{name}": value for unit, name, value in values}


def _values(account: Account, reset: Callable[[float], str]) -> Iterator[tuple[str, str, str]]:
    """Unit, name and value of each header, of the limit of which the least remains.

    Args:
        reset: formats a time that is the given number of seconds away.
    """
    quotas = account.quotas
    for unit in UNITS:
        buckets = [bucket for quota, bucket in quotas.items() if quota.unit.endswith(unit)]
        if buckets:
            bucket = min(buckets, key=lambda bucket: bucket.remaining)
            yield unit, "limit", str(bucket.limit)
            yield unit, "remaining", str(bucket.remaining)
            yield unit, "reset", reset(bucket.full_in_s)


def _duration(seconds: float) -> str:
    return f"{math.ceil(seconds * 1000)}ms" if seconds < 1 else f"{math.ceil(seconds * 1000) / 1000:g}s"


def _time_in(seconds: int) -> str:
    return f"{datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"
