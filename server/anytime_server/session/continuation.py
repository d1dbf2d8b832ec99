"""Continuations: thinking that a client keeps, so that any replica can think on from it.

`a1.PAYLOAD.SIGNATURE`, both in URL-safe base64: the payload is compressed, a line of JSON and then the
ids; the signature an HMAC-SHA256 of version and payload. Clients are to take it as opaque.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import logging
import os
import secrets
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anytime_server.errors import InvalidRequest, UnusableOption

logger = logging.getLogger(__name__)

VERSION = "a1"
MAX_PAYLOAD_BYTES = 8 << 20
SHORTEST_KEY = 16


class ContinuationSigner:
    """Makes and opens the continuations of one model."""

    def __init__(self, key: bytes, *, model: str, fingerprint: str) -> None:
        """
        Args:
            key: what the signature is made with; replicas share it.
            model: name that the model is served under, for people.
            fingerprint: tells the model from others.
        """
        self._key = key
        self._model = model
        self._fingerprint = fingerprint

    def sign(self, prompt_ids: Sequence[int], thinking_ids: Sequence[int], *, ended: bool) -> str:
        """The continuation of thinking.

        Args:
            prompt_ids: what it was thought about.
            ended: whether the model ended it, so that there is nothing to think on from.
        """
        about = {
            "model": self._model,
            "fingerprint": self._fingerprint,
            "prompt": _digest(prompt_ids),
            "ended": ended,
        }
        payload = (
            json.dumps(about, separators=(",", ":")).encode() + b"\n" + _bytes([] if ended else thinking_ids)
        )
        packed = _encode(zlib.compress(payload, level=1))
        return f"{VERSION}.{packed}.{_encode(self._sign(packed))}"

    def verify(self, continuation: str, *, prompt_ids: Sequence[int]) -> tuple[int, ...]:
        """The ids of the thinking to go on from.

        Raises:
            InvalidRequest: it is not one of ours, was changed, belongs to another model or another
                conversation, or the model had ended its thinking.
        """
        if not continuation.isascii():
            raise _refused("it is no continuation of this server's making")
        version, _, rest = continuation.partition(".")
        packed, _, signature = rest.partition(".")
        if version != VERSION or not packed or not signature:
            raise _refused("it is no continuation of this server's making")
        if not hmac.compare_digest(_encode(self._sign(packed)).encode(), signature.encode()):
            raise _refused(
                "its signature does not fit: it was changed, or its server has another continuation key"
            )
        about, thinking_ids = _unpack(packed)
        if about["fingerprint"] != self._fingerprint:
            raise _refused(f"it belongs to another model ({about['model']})")
        if about["prompt"] != _digest(prompt_ids):
            raise _refused("it belongs to another conversation: send the messages that it came from")
        if about["ended"]:
            raise _refused("the model had ended this thinking by itself: there is nothing to think on from")
        return thinking_ids

    def _sign(self, packed: str) -> bytes:
        return hmac.digest(self._key, f"{VERSION}.{packed}".encode(), "sha256")


def continuation_key(given: str | None) -> bytes:
    """The key to sign with: the one given, else this user's own on this machine, made if it is not there.

    Where that cannot be kept, a random one: continuations then end with the process.

    Raises:
        UnusableOption: the one given is too short to be a secret.
    """
    if given is not None:
        if len(given) < SHORTEST_KEY:
            raise UnusableOption(f"--continuation-key: must have at least {SHORTEST_KEY} characters")
        return given.encode()
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    path = Path(state).expanduser() / "anytime" / "continuation.key"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with open(handle, "wb") as file:
                file.write(secrets.token_bytes(32))
        if len(key := path.read_bytes()) >= SHORTEST_KEY:
            return key
        reason = "it is too short"  # perhaps another server is just writing it
    except (OSError, RuntimeError) as error:
        reason = str(error)
    logger.warning("continuations end with this process: the key in %s cannot be used: %s", path, reason)
    return secrets.token_bytes(32)


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"the continuation cannot be used: {why}", field="continuation")


def _bytes(ids: Sequence[int]) -> bytes:
    return np.asarray(ids, "<u4").tobytes()


def _digest(ids: Sequence[int]) -> str:
    return hashlib.sha256(_bytes(ids)).hexdigest()[:32]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unpack(packed: str) -> tuple[dict[str, Any], tuple[int, ...]]:
    """What it is about, and the ids. It was signed, so it is what `seal()` made, unless a key got out."""
    try:
        data = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        about, _, ids = zlib.decompressobj().decompress(data, MAX_PAYLOAD_BYTES).partition(b"\n")
        return json.loads(about), tuple(np.frombuffer(ids, "<u4").tolist())
    except (ValueError, binascii.Error, zlib.error) as error:
        raise _refused("it cannot be read") from error
