"""Continuation tokens: only an unchanged token of the same key, model and conversation is accepted."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from anytime_server.errors import InvalidRequest, UnusableOption
from anytime_server.session.continuation import ContinuationSigner, continuation_key

KEY, PROMPT, THINKING = b"k" * 32, [1, 2, 3], (7, 8, 65_000)


def signer(key: bytes = KEY, fingerprint: str = "f") -> ContinuationSigner:
    return ContinuationSigner(key, model="tiny", fingerprint=fingerprint)


def test_any_replica_verifies_a_token() -> None:
    token = signer().sign(PROMPT, THINKING, ended=False)
    assert signer().verify(token, prompt_ids=PROMPT) == THINKING
    assert token.isascii()
    assert not set(token) & set(' \n"\\/+=')


def test_a_token_of_long_thinking_is_compressed() -> None:
    token = signer().sign(PROMPT, list(range(5000, 37_000)), ended=False)
    assert len(token) < 32_000 * 4
    assert len(signer().verify(token, prompt_ids=PROMPT)) == 32_000


@pytest.mark.parametrize("position", range(-1, 400, 7))
def test_a_changed_token_is_refused(position: int) -> None:
    token = signer().sign(PROMPT, THINKING, ended=False)
    position %= len(token)
    other = "A" if token[position] != "A" else "B"
    with pytest.raises(InvalidRequest) as caught:
        signer().verify(token[:position] + other + token[position + 1 :], prompt_ids=PROMPT)
    assert caught.value.field == "continuation"


@pytest.mark.parametrize("change", ["{}=", "{}!", "{}\n", "{}é", " {}", "a1.{}"])
def test_a_token_with_further_characters_is_refused(change: str) -> None:
    token = signer().sign(PROMPT, THINKING, ended=False)
    with pytest.raises(InvalidRequest, match="signature"):
        signer().verify(change.format(token), prompt_ids=PROMPT)
    with pytest.raises(InvalidRequest, match="signature"):
        signer().verify(token.removeprefix("a1."), prompt_ids=PROMPT)


@pytest.mark.parametrize(
    "text", ["", "a1", "a1.", "a1..", "a1.x", "a1.x.", "a2.x.y", "a1.ä.ö", "a1.\ud800.x", "....", "\x00"]
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        signer().verify(text, prompt_ids=PROMPT)


@pytest.mark.parametrize(
    ("verifier", "prompt", "ended", "reason"),
    [
        (signer(key=b"x" * 32), PROMPT, False, "signature"),
        (signer(fingerprint="g"), PROMPT, False, r"another model \(tiny\)"),
        (signer(), [1, 2], False, "another conversation"),
        (signer(), PROMPT, True, "ended this thinking by itself"),
    ],
)
def test_a_refusal_names_its_reason(
    verifier: ContinuationSigner, prompt: list[int], ended: bool, reason: str
) -> None:
    token = signer().sign(PROMPT, THINKING, ended=ended)
    with pytest.raises(InvalidRequest, match=reason):
        verifier.verify(token, prompt_ids=prompt)


def test_the_key_is_kept_for_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    key = continuation_key(None)
    assert len(key) == 32
    assert continuation_key(None) == key
    [file] = (tmp_path / "anytime").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_without_a_state_folder_each_process_has_its_own_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert len(continuation_key(None)) == 32
    assert continuation_key(None) != continuation_key(None)


def test_a_given_key_must_be_long_enough() -> None:
    assert continuation_key("sixteen letters.") == b"sixteen letters."
    with pytest.raises(UnusableOption, match="--continuation-key"):
        continuation_key("short")


GOLDEN = (
    "a1.eAGrVsrNT0nNUbJSUCrJzKtU0lFQSsvMS08tKijKzCsBCaeBxAqK8nMLwFwTM2MzS0vjFONUw5REk1TLFLMkizQL8yRzy1SL"
    "NPNkM5Dq1LyU1BSg3rTEnOLUWi52BgYGDiB-8ZeBAQBgRB-Z.FuFMBp2VhMKswfpCjAVsQhIjuDoVndhTm-9Nq3t57Uk"
)
GOLDEN_OF_ENDED = (
    "a1.eAEdi8sKgCAQAO99hey5Sxg--pts1xBylcUOEf172XGGmRtyQTpgUdASXzAqiIl3kiqJW9exuyol1x9no433GjVNuM7k0QQX"
    "nQ3Wk4t2M70mRsLvbXLSM7zX-h1a.OJP1pD5iFGLihXopgCQUiz6rb2jByj8biEqXArfbV74"
)


def test_tokens_of_earlier_releases_stay_valid() -> None:
    """A key is set, so tokens may be years old, and replicas may run two releases."""
    assert signer().verify(GOLDEN, prompt_ids=PROMPT) == THINKING
    with pytest.raises(InvalidRequest, match="ended this thinking by itself") as refused:
        signer().verify(GOLDEN_OF_ENDED, prompt_ids=PROMPT)
    assert refused.value.field == "continuation"


@pytest.mark.parametrize(("size", "is_kept"), [(0, False), (15, False), (16, True), (32, True)])
def test_a_file_that_is_too_short_is_not_a_key(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    size: int,
    is_kept: bool,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "deep" / "state"))
    file = tmp_path / "deep" / "state" / "anytime" / "continuation.key"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"k" * size)
    key = continuation_key(None)
    assert (key == b"k" * size) == is_kept
    assert is_kept or len(key) == 32
    assert ("too short" in caplog.text) != is_kept


@pytest.mark.parametrize("state", [None, ""])
def test_the_key_lies_in_the_home_folder_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if state is None:
        monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_STATE_HOME", state)
    key = continuation_key(None)
    assert (tmp_path / ".local" / "state" / "anytime" / "continuation.key").read_bytes() == key


def test_a_given_key_of_15_characters_is_too_short() -> None:
    with pytest.raises(UnusableOption, match="at least 16 characters"):
        continuation_key("fifteen letters")
