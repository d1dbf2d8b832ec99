"""Finds a think-end that is no single token: in text, across the borders of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from anytime_server.reasoning.format import ThinkEndText
from anytime_server.reasoning.markers import num_begun

LEAST_BEGUN = 3
"""Characters of a think-end from which on it counts as begun: fewer are likely to be something else."""


class Decoder(Protocol):
    """Decodes token ids."""

    def __call__(self, token_ids: Sequence[int], *, keeps_special: bool) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkingTail:
    """How far the end of some thinking is into the think-end."""

    is_complete: bool = False
    """The last token completed a think-end."""
    num_begun: int = 0
    """Characters of the think-end that are there already, where it is not complete."""
    num_answer_start: int = 0
    """Characters of the answer-start that the last token wrote after the think-end."""
    answer_text: str = ""
    """Other text that the last token wrote after the think-end; the answer begins with it."""


NOT_BEGUN = ThinkingTail()


def thinking_tail(thinking_ids: Sequence[int], think_end: ThinkEndText, decode: Decoder) -> ThinkingTail:
    """Look at the end of thinking.

    A think-end that an earlier token completed does not count: thinking that is resumed may have an answer in
    it, after which the model thought again.
    """
    longest = max(map(len, think_end.texts))
    # One character has at most four tokens; a few more tokens in front make sure that characters are whole.
    last_ids = list(thinking_ids[-(4 * longest + 8) :])
    if not last_ids:
        return NOT_BEGUN
    text = decode(last_ids, keeps_special=True)
    ends = [text.rindex(one) + len(one) for one in think_end.texts if one in text]
    if ends and max(ends) > len(decode(last_ids[:-1], keeps_special=True)):
        return _after_think_end(text[max(ends) :], think_end.answer_start)
    num = num_begun(text, think_end.texts[:1])
    return ThinkingTail(num_begun=num) if num >= LEAST_BEGUN else NOT_BEGUN


def _after_think_end(surplus: str, answer_start: str) -> ThinkingTail:
    num = next(
        n for n in range(min(len(surplus), len(answer_start)), -1, -1) if surplus[:n] == answer_start[:n]
    )
    return ThinkingTail(is_complete=True, num_answer_start=num, answer_text=surplus[num:].lstrip())
