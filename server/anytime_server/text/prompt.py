"""A prompt in token ids, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A conversation, ready for the assistant's turn."""

    ids: list[int]
    is_open: bool
    """Whether thinking is open at its end; otherwise what is sampled next is the answer."""
    num_opener_tokens: int = 0
    """Tokens at its end that open the thinking; 0 where it is not open, or they cannot be distinguished."""

    def closed(self, no_thinking_ids: tuple[int, ...] | None) -> list[int] | None:
        """The prompt of an answer without thinking; None where the model was trained with no such form.

        Args:
            no_thinking_ids: take the place of the opener.
        """
        if not self.is_open:
            return self.ids
        if no_thinking_ids is None or not self.num_opener_tokens:
            return None
        return [*self.ids[: -self.num_opener_tokens], *no_thinking_ids]
