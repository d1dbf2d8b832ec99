"""Where a sentence ends in text as it is sampled: the boundary that grace tokens go on to."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

SENTENCE_END = re.compile(
    r"""(?: \n                                         # a line
          | (?: [!?…。！？] | (?<!\d)\. | \.(?=\s) )    # a period after a digit may be a decimal point
            [])}"'”’»*_`]*                             # closing quotes, brackets and markup
        ) \s* \Z""",
    re.VERBOSE,
)
CONTEXT_TOKENS = 16
"""Tokens at the end of a text that show whether a sentence ends there."""


def ends_sentence(text: str) -> bool:
    """Whether the text ends with a sentence or a line. The text after it is not known yet."""
    return SENTENCE_END.search(text[-64:]) is not None


def first_sentence_end(
    token_ids: Sequence[int],
    new_ids: Sequence[int],
    *,
    at_least: int,
    decode: Callable[[Sequence[int]], str],
) -> int | None:
    """The first number of `new_ids` after which a sentence ends.

    Args:
        token_ids: tokens before them.
        at_least: tokens that there must be then, of both together.

    Returns:
        None if no sentence ends with any of them.
    """
    before = token_ids[-CONTEXT_TOKENS:]
    for num in range(max(1, at_least - len(token_ids)), len(new_ids) + 1):
        if ends_sentence(decode([*before, *new_ids[:num]][-CONTEXT_TOKENS:])):
            return num
    return None
