"""When a request is sent again, and how long all may take."""

from __future__ import annotations

import pytest
from anytime_client.errors import ClientError, RequestRefused, ServerUnreachable, StreamInterrupted
from anytime_client.retrying import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    LONGEST_RETRY_AFTER_S,
    Deadline,
    Retries,
)


def refused(status: int, retry_after_s: float | None = None) -> RequestRefused:
    return RequestRefused("no", status=status, retry_after_s=retry_after_s)


@pytest.mark.parametrize("error", [ServerUnreachable("gone"), refused(429), refused(503)])
def test_pauses_grow_until_it_gives_up(error: ClientError) -> None:
    retries = Retries(8, Deadline(None))
    for attempt in range(8):
        longest = min(FIRST_PAUSE_S * 2**attempt, LONGEST_PAUSE_S)
        assert longest / 2 <= retries.pause_s(error) <= longest
    with pytest.raises(ClientError) as raised:
        retries.pause_s(error)
    assert raised.value is error


def test_pauses_differ() -> None:
    assert len({Retries(1, Deadline(None)).pause_s(refused(503)) for _ in range(8)}) > 1


@pytest.mark.parametrize("error", [refused(400), refused(422), refused(500), StreamInterrupted("broke")])
def test_what_may_have_sampled_or_cannot_help_is_not_repeated(error: ClientError) -> None:
    with pytest.raises(type(error)):
        Retries(5, Deadline(None)).pause_s(error)


@pytest.mark.parametrize("retry_after_s", [0.0, 0.5, 7.0, LONGEST_RETRY_AFTER_S])
def test_the_server_says_how_long(retry_after_s: float) -> None:
    assert Retries(1, Deadline(None)).pause_s(refused(503, retry_after_s)) == retry_after_s


def test_a_server_that_asks_for_too_much_is_not_asked_again() -> None:
    with pytest.raises(RequestRefused):
        Retries(1, Deadline(None)).pause_s(refused(503, LONGEST_RETRY_AFTER_S + 1))


def test_a_pause_past_the_deadline_is_not_made() -> None:
    error = refused(503, 7.0)
    assert Retries(1, Deadline(60.0)).pause_s(error) == 7.0
    with pytest.raises(RequestRefused) as raised:
        Retries(1, Deadline(6.0)).pause_s(error)
    assert raised.value is error


def test_a_deadline() -> None:
    assert (Deadline(None).is_set, Deadline(None).has_passed) == (False, False)
    assert (Deadline(0.0).is_set, Deadline(0.0).has_passed, Deadline(0.0).left_s) == (True, True, 0.0)
    assert 0 < Deadline(100.0).left_s <= 100
