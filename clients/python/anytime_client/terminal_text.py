"""Makes text from a server or a model safe to print on a terminal.

The server has the like in `anytime_server.printable`, since neither imports the other;
a test keeps both sets of characters equal.
"""

from __future__ import annotations

import re
import sys

from anytime_client.errors import RequestRefused

_UNSAFE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters other than tab and newline, line separators, marks that change the direction of text,
and lone surrogates, which cannot be printed."""
MAX_MESSAGE_CHARACTERS = 400
"""Longer messages of the server are shortened."""


def without_controls(text: str) -> str:
    """The text without control characters other than tab and newline: it cannot command the terminal."""
    return _UNSAFE.sub("", text)


def escaped_json(json: str) -> str:
    """The same JSON, with the unsafe characters of its strings written as escapes."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", json)


def one_line(text: str) -> str:
    """The text with every run of white space replaced by a single space."""
    return " ".join(text.split())


def message_line(text: str) -> str:
    """A message of the server, or one that contains its text, as one line of limited length."""
    line = without_controls(one_line(text))
    return line if len(line) <= MAX_MESSAGE_CHARACTERS else f"{line[:MAX_MESSAGE_CHARACTERS]} ..."


def print_error(command: str, error: object) -> None:
    """Print one line to standard error: the command and its error."""
    line = message_line(str(error))
    if isinstance(error, RequestRefused) and error.status == 401:
        line += "; the key is read from the environment variable ANYTIME_API_KEY"
    print(f"anytime {command}: {line}", file=sys.stderr)
