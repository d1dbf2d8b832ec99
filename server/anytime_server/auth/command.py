"""`anytime keys`: makes API keys for a server. A secret is shown, or written to a file, once."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ValidationError

from anytime_server.auth.keys import SECRET_PREFIX, Key, Role, fault, sha256
from anytime_server.auth.limits import Limits

RANDOM_BYTES = 32


def main(argv: Sequence[str]) -> int:
    """Run the command. Returns the exit status."""
    arguments = _parser().parse_args(argv)
    secret = SECRET_PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    fields = {name: value for name, value in vars(arguments).items() if value is not None}
    secret_file: Path | None = fields.pop("secret_file", None)
    try:
        key = Key(sha256=sha256(secret.encode()), **fields)
    except ValidationError as error:
        print(f"anytime keys: {fault(error)}", file=sys.stderr)
        return 2
    if secret_file is None:
        # To standard error, so that `>> keys.toml` adds only the entry.
        print(f"The secret of {key.name}, shown only once: {secret}", file=sys.stderr)
    else:
        try:
            descriptor = os.open(secret_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            print(f"anytime keys: --secret-file: {secret_file}: {error.strerror}", file=sys.stderr)
            return 2
        with open(descriptor, "w") as file:
            file.write(secret)
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
    new.add_argument(
        "--secret-file", type=Path, metavar="FILE", help="new file for the secret, instead of the terminal"
    )
    new.add_argument("--role", choices=get_args(Role), help=_help(Key, "role"))
    for name in Limits.model_fields:
        option = "--" + name.replace("_", "-")
        new.add_argument(option, type=int, metavar="N", help=_help(Limits, name))
    return parser


def _help(model: type[BaseModel], field: str) -> str:
    description = model.model_fields[field].description or ""
    return " ".join(description.split())
