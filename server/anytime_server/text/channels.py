"""Follows answers that models write in channels: which tokens are text, thinking, a tool call, or a header.

Works on token ids, so text that spells a header is text. The texts of the channels are the family's. Knows no
engine and no dialect.
"""

from __future__ import annotations

from anytime_server.reasoning import ChannelTexts, Part
from anytime_server.text.tokenizer import ModelTokenizer


class ChannelReader:
    """Follows the channels of one answer, token by token."""

    def __init__(self, channels: ChannelTexts, tokenizer: ModelTokenizer, *, begins_in: Part | None) -> None:
        """
        Args:
            begins_in: the part that the answer's prompt ends in; None where it ends in a header.
        """
        self.part = Part.NONE
        """Of the last token, or of the next one after a header."""
        self.calls: list[list[int]] = []
        """Tokens of each block of calls, from its header on."""
        self._channels = channels
        self._tokenizer = tokenizer
        self.open_ids = _known_ids(channels.opens, tokenizer)
        self.end_ids = _known_ids(channels.ends, tokenizer)
        self._close_ids = _known_ids(channels.closes, tokenizer)
        self._header: list[int] = []
        self._is_in_header = False
        self.restart(begins_in)

    def restart(self, begins_in: Part | None) -> None:
        """Go on at the end of another prompt."""
        self._header, self._is_in_header = [], begins_in is None
        self.part = Part.NONE if begins_in is None else begins_in

    def push(self, token_id: int) -> Part:
        """The part that the next token belongs to."""
        if token_id in self.end_ids:
            self.restart(Part.NONE)
            return Part.NONE
        if self._is_in_header or token_id in self.open_ids:
            self._is_in_header = True
            self._header.append(token_id)
            if token_id in self._close_ids:
                self._complete(self._header)
                self._header, self._is_in_header = [], False
            return Part.NONE
        if self.part is Part.CALL:
            self.calls[-1].append(token_id)
        return self.part

    def _complete(self, header: list[int]) -> None:
        part = self._channels.part_after(self._tokenizer.decode(header, keeps_special=True))
        if part is None:
            if self.part is Part.CALL:
                self.calls[-1].extend(header)
            return
        self.part = part
        if part is Part.CALL:
            self.calls.append(list(header))


def readable_channels(channels: ChannelTexts | None, tokenizer: ModelTokenizer) -> ChannelTexts | None:
    """A family's channels; None where it has none, or the vocabulary lacks the tokens of their headers."""
    if channels is None or not (
        _known_ids(channels.opens, tokenizer) and _known_ids(channels.closes, tokenizer)
    ):
        return None
    return channels


def _known_ids(tokens: tuple[str, ...], tokenizer: ModelTokenizer) -> frozenset[int]:
    """Ids of those of the tokens that the vocabulary has."""
    return frozenset(i for i in map(tokenizer.token_id, tokens) if i is not None)
