"""When two answers are the same."""

from __future__ import annotations

import re
import string

_BOX = "\\boxed{"
_NUMBER = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)?(\.\d+)?")
_AFTER = ".,;:!?*_`'\"$" + string.whitespace
_BEFORE = _AFTER.replace(".", "")


def normalized_answer(text: str) -> str:
    """The content of an answer, for comparison: two answers agree if it is the same.

    That is the content of the last box, if there is one, without formatting and punctuation around it,
    without differences of case and white space; a number in its shortest form.
    """
    text = _last_box(text).replace("\\$", "").replace("$", "").replace("**", "")
    text = " ".join(text.casefold().split()).lstrip(_BEFORE).rstrip(_AFTER)
    return _shortest(text) if _NUMBER.fullmatch(text) and any(map(str.isdigit, text)) else text


def _shortest(number: str) -> str:
    """The same number without a plus sign, commas between thousands, and outer zeros."""
    sign = "-" if number.startswith("-") else ""
    whole, _, fraction = number.lstrip("+-").replace(",", "").partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    shortest = f"{whole}.{fraction}" if fraction else whole
    return shortest if shortest == "0" else sign + shortest


def _last_box(text: str) -> str:
    """The content of the last `\\boxed{}`; all of the text where there is none, or none is closed."""
    start = text.rfind(_BOX)
    if start < 0:
        return text
    depth = 1
    for end, character in enumerate(text[start + len(_BOX) :], start + len(_BOX)):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return text[start + len(_BOX) : end]
    return text
