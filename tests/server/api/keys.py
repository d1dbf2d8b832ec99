"""API keys for tests: the secret of each is its name."""

from __future__ import annotations

from typing import Any

from anytime_server.auth import Account, Keyring
from anytime_server.auth.keys import Key, sha256


def key(name: str, **fields: Any) -> Key:
    return Key(name=name, sha256=sha256(name.encode()), **fields)


def keyring(*keys: Key) -> Keyring:
    return Keyring(lambda: list(keys))


def account(keyring: Keyring, name: str) -> Account:
    return keyring.account_of(name.encode())


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}
