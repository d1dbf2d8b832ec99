"""`anytime keys`: makes API keys for a server. The secret is shown once and kept nowhere."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from anytime_server.auth.keys import SECRET_PREFIX, Key, fault, sha256

RANDOM_BYTES = 32


def main(argv: Sequence[str]) -> int:
    """Returns the exit status."""
    arguments = _parser().parse_args(argv)
    secret = SECRET_PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    limits = {
        "concurrency": arguments.concurrency,
        "requests_per_minute": arguments.requests_per_minute,
        "thinking_tokens_per_minute": arguments.thinking_tokens_per_minute,
    }
    try:
        key = Key(name=arguments.name, sha256=sha256(secret.encode()), **limits)
    except ValidationError as error:
        print(f"anytime keys: {fault(error)}", file=sys.stderr)
        return 2
    # The secret is told apart from the rest, so that `>> keys.toml` adds what belongs there and no more.
    print(f"The secret of {key.name}, shown this once: {secret}", file=sys.stderr)
    print(_toml(key))
    return 0


def _toml(key: Key) -> str:
    values = key.model_dump(exclude_unset=True, exclude_none=True)
    lines = [f"{field} = {json.dumps(value)}" for field, value in values.items()]
    return "\n".join(["[[keys]]", *lines, ""])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anytime keys", description="Make API keys for a server.", allow_abbrev=False
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    new = commands.add_parser(
        "new",
        help="make a key",
        description="Make a key: shows its secret once, on standard error, and prints what the file of "
        "`anytime serve --keys FILE` is to say of it: append it there.",
        allow_abbrev=False,
    )
    new.add_argument("name", metavar="NAME", help="whose it is; logs and metrics say it")
    new.add_argument("--concurrency", type=int, metavar="N", help="the most requests under way at a time")
    new.add_argument("--requests-per-minute", type=int, metavar="N", help="the most requests in a minute")
    new.add_argument(
        "--thinking-tokens-per-minute", type=int, metavar="N", help="the most thinking tokens in a minute"
    )
    return parser
