"""Continuation tokens: signed thinking that a client keeps, so that any replica can resume it.

Clients treat a token as opaque. It is `a1.`, a compressed payload (a line of JSON, then the ids) and the
signature of both, as itsdangerous makes it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from itsdangerous import Signer
from itsdangerous.encoding import base64_decode, base64_encode

from anytime_server.errors import InvalidRequest, UnusableOption

logger = logging.getLogger(__name__)

PREFIX = b"a1."
MAX_PAYLOAD_BYTES = 8 << 20
MIN_KEY_CHARACTERS = 16


class ContinuationSigner:
    """Signs and verifies the continuation tokens of one model."""

    def __init__(self, key: bytes, *, model: str, fingerprint: str) -> None:
        """
        Args:
            key: signing key; replicas share it.
            model: the model's name, for error messages.
            fingerprint: identifies the model.
        """
        self._signer = Signer(
            key, salt="anytime.continuation", key_derivation="hmac", digest_method=hashlib.sha256
        )
        self._model = model
        self._fingerprint = fingerprint

    def sign(self, prompt_ids: Sequence[int], thinking_ids: Sequence[int], *, ended: bool) -> str:
        """A continuation token.

        Args:
            prompt_ids: the prompt of the thinking.
            ended: whether the model ended the thinking, which then cannot be resumed.
        """
        about = {
            "model": self._model,
            "fingerprint": self._fingerprint,
            "prompt": _digest(prompt_ids),
            "ended": ended,
        }
        payload = json.dumps(about).encode() + b"\n" + _bytes([] if ended else thinking_ids)
        packed = base64_encode(zlib.compress(payload, level=1))
        return self._signer.sign(PREFIX + packed).decode()

    def verify(self, token: str, *, prompt_ids: Sequence[int]) -> tuple[int, ...]:
        """The token ids of the thinking to resume.

        Raises:
            InvalidRequest: the token was changed or signed with another key, it belongs to another model or
                another conversation, or the model had ended the thinking.
        """
        signed, _, _ = token.rpartition(".")
        # Signed again rather than unsigned: decoding a signature would ignore characters that are not base64.
        if not (token.isascii() and hmac.compare_digest(self._signer.sign(signed), token.encode())):
            raise _refusal(
                "its signature does not match: it was changed, or signed with another continuation key"
            )
        packed = signed.encode().removeprefix(PREFIX)
        payload = zlib.decompressobj().decompress(base64_decode(packed), MAX_PAYLOAD_BYTES)
        head, _, ids = payload.partition(b"\n")
        about = json.loads(head)
        if about["fingerprint"] != self._fingerprint:
            raise _refusal(f"it belongs to another model ({about['model']})")
        if about["prompt"] != _digest(prompt_ids):
            raise _refusal("it belongs to another conversation: send the messages of the original request")
        if about["ended"]:
            raise _refusal("the model had ended this thinking by itself, so it cannot be resumed")
        return tuple(np.frombuffer(ids, "<u4").tolist())


def continuation_key(given: str | None) -> bytes:
    """The signing key: the given one, else the one kept in this user's state folder, made if it is missing.

    Without a usable state folder the key is random, and its tokens are valid until the process ends.

    Raises:
        UnusableOption: the given key is too short to be a secret.
    """
    if given is not None:
        if len(given) < MIN_KEY_CHARACTERS:
            raise UnusableOption(f"--continuation-key: must have at least {MIN_KEY_CHARACTERS} characters")
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
        if len(key := path.read_bytes()) >= MIN_KEY_CHARACTERS:
            return key
        reason = "it is too short"  # another server may be writing it at this moment
    except (OSError, RuntimeError) as error:
        reason = str(error)
    logger.warning(
        "continuation tokens are valid until this process ends: the key in %s cannot be used: %s",
        path,
        reason,
    )
    return secrets.token_bytes(32)


def _refusal(reason: str) -> InvalidRequest:
    return InvalidRequest(f"the continuation cannot be used: {reason}", field="continuation")


def _bytes(ids: Sequence[int]) -> bytes:
    return np.asarray(ids, "<u4").tobytes()


def _digest(ids: Sequence[int]) -> str:
    return hashlib.sha256(_bytes(ids)).hexdigest()[:32]
