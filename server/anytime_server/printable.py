"""Makes others' words safe to print: names and messages from files, models and networks.

The client has the like in `anytime_client.terminal_text`, since neither imports the other;
a test keeps both sets of characters equal.
"""

from __future__ import annotations

import re
import sys

UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line separators, marks that change the direction of text, and lone surrogates."""
MAX_MESSAGE_CHARACTERS = 2000
MAX_SHOWN = 83
"""Characters of a file's content in an error, with the `...` of a longer one."""


def escaped(text: str) -> str:
    """The text with every unsafe character written as an escape, such as `\\x1b`."""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def beginning(text: str) -> str:
    """The beginning of a text, escaped: a name or a message from a file, for an error."""
    return escaped(shortened(text, MAX_SHOWN))


def shortened(text: str, max_characters: int) -> str:
    """The text, or its beginning and `...` where it is longer."""
    return text if len(text) <= max_characters else f"{text[: max_characters - 3]}..."


def is_encodable(text: str) -> bool:
    """Whether the text is valid Unicode: without lone surrogates, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def print_error(command: str, error: object) -> None:
    """Print one line to standard error: the command and its error, shortened if it is very long."""
    line = shortened(escaped(" ".join(str(error).split())), MAX_MESSAGE_CHARACTERS)
    print(f"anytime {command}: {line}", file=sys.stderr)
