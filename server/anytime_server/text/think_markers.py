"""Markers of thinking that are ordinary text, in the text of an answer. Knows no tokens.

A model whose thinking was truncated may still write its think-end and answer-start, and one that has answered
may open another block of thinking. Such a marker counts at the beginning of a line, or anywhere in the first
line; elsewhere the answer may be about it.
"""

from __future__ import annotations

from anytime_server.text.model import Model


class ThinkMarkers:
    """Removes markers from the text of one answer, and notices thinking that begins again."""

    def __init__(self, model: Model) -> None:
        reasoning, texts = model.reasoning, model.manifest
        starts = (texts.think_start,) if reasoning.think_start_id is None else ()
        ends = texts.think_ends if reasoning.think_end_id is None else ()
        self._starts = _tags(starts)
        self._dropped = _tags((*ends, texts.answer_start))
        self.has_begun_to_think = False
        """Whether the last text ended with a think-start."""

    @property
    def texts(self) -> tuple[str, ...]:
        """Every marker; text that may begin one waits."""
        return (*self._starts, *self._dropped)

    def without(self, held: str, *, before: str) -> str:
        """Text without markers, up to a think-start.

        Args:
            before: the answer's text before it.
        """
        at = 0
        while (found := self._first(held, at)) is not None:
            begin, marker = found
            if not _counts(before + held[:begin]):
                at = begin + len(marker)
            elif marker in self._starts:
                self.has_begun_to_think = True
                return held[:begin]
            else:
                held, at = held[:begin] + held[begin + len(marker) :], begin
        return held

    def _first(self, held: str, at: int) -> tuple[int, str] | None:
        found = ((begin, marker) for marker in self.texts if (begin := held.find(marker, at)) >= 0)
        return min(found, key=lambda match: (match[0], -len(match[1])), default=None)


def _tags(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Those that are not empty, stripped, and no sentences, with which an answer may well begin."""
    stripped = (text.strip() for text in texts)
    return tuple(text for text in stripped if text and not text[0].isalpha())


def _counts(before: str) -> bool:
    line = before.lstrip().rpartition("\n")
    return not line[1] or not line[2].strip()
