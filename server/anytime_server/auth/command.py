"""`anytime keys`: makes API keys for a server. A secret is shown once and stored nowhere."""

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
    """Run the command. Returns the exit status."""
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
    # The secret goes to standard error, so that `>> keys.toml` adds only the entry.
    print(f"The secret of {key.name}, shown only once: {secret}", file=sys.stderr)
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
        description="Make a key. Its secret is shown once, on standard error; its entry for the file of "
        "`anytime serve --keys FILE` goes to standard output.",
        allow_abbrev=False,
    )
    new.add_argument("name", metavar="NAME", help="name of the key in logs and metrics")
    new.add_argument("--concurrency", type=int, metavar="N", help="maximum of concurrent requests")
    new.add_argument("--requests-per-minute", type=int, metavar="N", help="maximum of requests per minute")
    new.add_argument(
        "--thinking-tokens-per-minute", type=int, metavar="N", help="maximum of thinking tokens per minute"
    )
    return parser
