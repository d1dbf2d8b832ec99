"""Token ids to text as they arrive: incomplete characters are held back."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Detokenizer:
    """Ids in, text out, holding back a character that is not complete.

    The text of an id can depend on the ids before it, so the latest ids that were shown stay as
    context. Bytes that never become a character are let go as replacement characters.
    """

    LONGEST_TAIL = 4
    """Replacement characters that an incomplete character can read as: one for each of its bytes, and
    one for a space before it that a tokenizer may write as a byte, too."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        """
        Args:
            decode: text of ids, with replacement characters for incomplete characters.
        """
        self._decode = decode
        self._context_ids: list[int] = []
        self._context = ""
        self._ids: list[int] = []
        self._num_shown = 0
        """Characters of what `_ids` read as that have been shown."""

    def push(self, token_ids: Sequence[int]) -> str:
        """Text that these ids complete; may be empty."""
        return "".join(self._push(token_id) for token_id in token_ids)

    def flush(self) -> str:
        """Text that was held back, complete or not."""
        text = self._text()
        return self._show(text, len(text))

    def _push(self, token_id: int) -> str:
        self._ids.append(token_id)
        text = self._text()
        return self._show(text, max(len(text.rstrip("\ufffd")), len(text) - self.LONGEST_TAIL))

    def _text(self) -> str:
        """Text of `_ids` after the context."""
        text = self._decode(self._context_ids + self._ids)
        if text.startswith(self._context):
            return text.removeprefix(self._context)
        # Where a tokenizer falls back on bytes, an incomplete character spoils those right before it.
        return self._decode(self._ids)

    def _show(self, text: str, end: int) -> str:
        shown, self._num_shown = text[self._num_shown : end], max(self._num_shown, end)
        if shown and end == len(text):
            self._context_ids, self._ids, self._num_shown = self._ids, [], 0
            self._context = self._decode(self._context_ids)
        return shown
