"""Retries and deadlines."""

from __future__ import annotations

import pytest
from anytime_client.errors import ClientError, RequestRefused, ServerUnreachable, StreamInterrupted
from anytime_client.retry import (
    INITIAL_BACKOFF_S,
    MAX_BACKOFF_S,
    MAX_RETRY_AFTER_S,
    Deadline,
    Retries,
)


def refused(status: int, retry_after_s: float | None = None) -> RequestRefused:
    return RequestRefused("no", status=status, retry_after_s=retry_after_s)


@pytest.mark.parametrize("error", [ServerUnreachable("gone"), refused(429), refused(503)])
def test_delays_grow_until_max_retries(error: ClientError) -> None:
    retries = Retries(8, Deadline(None))
    for attempt in range(8):
        longest = min(INITIAL_BACKOFF_S * 2**attempt, MAX_BACKOFF_S)
        assert longest / 2 <= retries.delay_s(error) <= longest
    with pytest.raises(ClientError) as raised:
        retries.delay_s(error)
    assert raised.value is error


def test_delays_are_randomized() -> None:
    assert len({Retries(1, Deadline(None)).delay_s(refused(503)) for _ in range(8)}) > 1


@pytest.mark.parametrize("error", [refused(400), refused(422), refused(500), StreamInterrupted("broke")])
def test_other_errors_are_not_retried(error: ClientError) -> None:
    with pytest.raises(type(error)):
        Retries(5, Deadline(None)).delay_s(error)


@pytest.mark.parametrize("retry_after_s", [0.0, 0.5, 7.0, MAX_RETRY_AFTER_S])
def test_retry_after_sets_the_delay(retry_after_s: float) -> None:
    assert Retries(1, Deadline(None)).delay_s(refused(503, retry_after_s)) == retry_after_s


def test_longer_retry_after_is_not_retried() -> None:
    with pytest.raises(RequestRefused):
        Retries(1, Deadline(None)).delay_s(refused(503, MAX_RETRY_AFTER_S + 1))


def test_delay_past_the_deadline_is_not_retried() -> None:
    error = refused(503, 7.0)
    assert Retries(1, Deadline(60.0)).delay_s(error) == 7.0
    with pytest.raises(RequestRefused) as raised:
        Retries(1, Deadline(6.0)).delay_s(error)
    assert raised.value is error


def test_deadline() -> None:
    assert (Deadline(None).is_set, Deadline(None).has_passed) == (False, False)
    assert (Deadline(0.0).is_set, Deadline(0.0).has_passed, Deadline(0.0).remaining_s) == (True, True, 0.0)
    assert 0 < Deadline(100.0).remaining_s <= 100
