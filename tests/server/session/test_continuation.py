"""Continuations: what is sealed can be opened, and nothing else."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from anytime_server.errors import InvalidRequest, UnusableOption
from anytime_server.session.continuation import ContinuationSigner, continuation_key

KEY, PROMPT, THINKING = b"k" * 32, [1, 2, 3], (7, 8, 65_000)


def signer(key: bytes = KEY, fingerprint: str = "f") -> ContinuationSigner:
    return ContinuationSigner(key, model="tiny", fingerprint=fingerprint)


def test_any_replica_opens_it() -> None:
    sealed = signer().sign(PROMPT, THINKING, ended=False)
    assert signer().verify(sealed, prompt_ids=PROMPT) == THINKING
    assert sealed.isascii()
    assert not set(sealed) & set(' \n"\\/+=')


def test_long_thinking_stays_short() -> None:
    sealed = signer().sign(PROMPT, list(range(5000, 37_000)), ended=False)
    assert len(sealed) < 32_000 * 4
    assert len(signer().verify(sealed, prompt_ids=PROMPT)) == 32_000


@pytest.mark.parametrize("place", range(0, 400, 7))
def test_a_changed_one_is_refused(place: int) -> None:
    sealed = signer().sign(PROMPT, THINKING, ended=False)
    place %= len(sealed)
    other = "A" if sealed[place] != "A" else "B"
    with pytest.raises(InvalidRequest) as caught:
        signer().verify(sealed[:place] + other + sealed[place + 1 :], prompt_ids=PROMPT)
    assert caught.value.field == "continuation"


@pytest.mark.parametrize(
    "text", ["", "a1", "a1.", "a1..", "a1.x", "a1.x.", "a2.x.y", "a1.ä.ö", "....", "\x00"]
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        signer().verify(text, prompt_ids=PROMPT)


@pytest.mark.parametrize(
    ("opener", "prompt", "ended", "why"),
    [
        (signer(key=b"x" * 32), PROMPT, False, "signature"),
        (signer(fingerprint="g"), PROMPT, False, r"another model \(tiny\)"),
        (signer(), [1, 2], False, "another conversation"),
        (signer(), PROMPT, True, "ended this thinking by itself"),
    ],
)
def test_why_it_is_refused(opener: ContinuationSigner, prompt: list[int], ended: bool, why: str) -> None:
    sealed = signer().sign(PROMPT, THINKING, ended=ended)
    with pytest.raises(InvalidRequest, match=why):
        opener.verify(sealed, prompt_ids=prompt)


def test_a_key_is_kept_for_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    key = continuation_key(None)
    assert len(key) == 32
    assert continuation_key(None) == key
    [file] = (tmp_path / "anytime").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_without_a_place_to_keep_it_there_is_one_for_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert len(continuation_key(None)) == 32
    assert continuation_key(None) != continuation_key(None)


def test_a_given_key() -> None:
    assert continuation_key("sixteen letters.") == b"sixteen letters."
    with pytest.raises(UnusableOption, match="--continuation-key"):
        continuation_key("short")
