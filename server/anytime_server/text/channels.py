"""Answers that models write in channels: which tokens are text, thinking, a tool call, or a header.

A channel begins with a header of special tokens and words, which says what follows. Works on token ids, so
text that spells a header is text. Knows no engine and no dialect.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from anytime_server.text.tokenizer import ModelTokenizer


class Part(Enum):
    """The part of an answer that a token belongs to."""

    TEXT = "text"
    """Text for the user, after which calls or more text may follow."""
    FINAL = "final"
    """Text for the user, at whose end the answer ends."""
    THINKING = "thinking"
    CALL = "call"
    NONE = "none"
    """Headers and ends, and whatever is between channels."""

    @property
    def is_text(self) -> bool:
        return self in (Part.TEXT, Part.FINAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFormat:
    """The tokens around the channels of one family."""

    opens: tuple[str, ...]
    """Begin a header."""
    closes: tuple[str, ...]
    """Complete a header."""
    ends: tuple[str, ...] = ()
    """End a channel."""
    has_calls: bool = True
    """Whether calls are channels; otherwise they are found in the text."""
    part_of: Callable[[str], Part | None]
    """The part that a header begins; None for a marker within a part."""

    def is_of(self, tokenizer: ModelTokenizer) -> bool:
        """Whether its headers can be found in the tokens of this tokenizer."""

        def is_any(texts: tuple[str, ...]) -> bool:
            return any(tokenizer.token_id(text) is not None for text in texts)

        return is_any(self.opens) and is_any(self.closes)


class ChannelReader:
    """Follows the channels of one answer, token by token."""

    def __init__(
        self, channel_format: ChannelFormat, tokenizer: ModelTokenizer, *, begins_in: Part | None
    ) -> None:
        """
        Args:
            begins_in: the part that the answer's prompt ends in; None where it ends in a header.
        """
        self.part = Part.NONE
        """Of the last token, or of the next one after a header."""
        self.calls: list[list[int]] = []
        """Tokens of each block of calls, from its header on."""
        self._part_of = channel_format.part_of
        self._tokenizer = tokenizer
        self.open_ids, self._close_ids, self.end_ids = (
            frozenset(i for i in map(tokenizer.token_id, texts) if i is not None)
            for texts in (channel_format.opens, channel_format.closes, channel_format.ends)
        )
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
        part = self._part_of(self._tokenizer.decode(header, keeps_special=True))
        if part is None:
            if self.part is Part.CALL:
                self.calls[-1].extend(header)
            return
        self.part = part
        if part is Part.CALL:
            self.calls.append(list(header))


def _harmony(header: str) -> Part:
    header = header.rpartition("<|start|>")[2]
    if re.search(r"\bto=\S", header):
        return Part.CALL
    channels = re.findall(r"<\|channel\|>(\w*)", header)
    if channels and channels[-1] == "analysis":
        return Part.THINKING
    return Part.FINAL if channels and channels[-1] == "final" else Part.TEXT


def _muse_glimmer(header: str) -> Part:
    recipient = re.search(r"\bto=([^\s<]+)", header.rpartition("<|start|>")[2])
    recipients = {"user": Part.TEXT, "self": Part.THINKING}
    return Part.TEXT if recipient is None else recipients.get(recipient[1], Part.CALL)


def _kimi_k3(header: str) -> Part | None:
    found = re.search(r"<\|(open|close)\|>\s*(\w+)[^<]*<\|sep\|>$", header)
    if found is None:
        return None
    sections = {"response": Part.TEXT, "think": Part.THINKING, "tools": Part.CALL, "message": Part.NONE}
    part = sections.get(found[2])
    return Part.NONE if part is not None and found[1] == "close" else part


def _by_last_token(parts: dict[str, Part]) -> Callable[[str], Part]:
    def part_of(header: str) -> Part:
        return next(part for token, part in parts.items() if header.endswith(token))

    return part_of


_COHERE = {
    "<|START_TEXT|>": Part.TEXT,
    "<|START_RESPONSE|>": Part.TEXT,
    "<|START_THINKING|>": Part.THINKING,
    "<|START_ACTION|>": Part.CALL,
    "<|END_TEXT|>": Part.NONE,
    "<|END_RESPONSE|>": Part.NONE,
    "<|END_THINKING|>": Part.NONE,
    "<|END_ACTION|>": Part.NONE,
}
_COHERE_FORMAT = ChannelFormat(opens=tuple(_COHERE), closes=tuple(_COHERE), part_of=_by_last_token(_COHERE))
_GEMMA = {"<|channel>": Part.THINKING, "<channel|>": Part.TEXT}
_SOLAR = {"<|content|>": Part.TEXT, "<|think|>": Part.THINKING, "<|tool_calls|>": Part.CALL}

CHANNEL_FORMATS: dict[str, ChannelFormat] = {
    "gpt-oss": ChannelFormat(
        opens=("<|start|>", "<|channel|>"),
        closes=("<|message|>",),
        ends=("<|end|>", "<|call|>", "<|return|>"),
        part_of=_harmony,
    ),
    "muse-glimmer": ChannelFormat(
        opens=("<|start|>",), closes=("<|message|>",), ends=("<|eom|>", "<|eot|>"), part_of=_muse_glimmer
    ),
    "solar-open": ChannelFormat(
        opens=("<|begin|>", *_SOLAR),
        closes=tuple(_SOLAR),
        ends=("<|end|>", "<|calls|>", "<|flush|>"),
        part_of=_by_last_token(_SOLAR),
    ),
    "kimi-k3": ChannelFormat(opens=("<|open|>", "<|close|>"), closes=("<|sep|>",), part_of=_kimi_k3),
    "gemma-4": ChannelFormat(
        opens=tuple(_GEMMA), closes=tuple(_GEMMA), part_of=_by_last_token(_GEMMA), has_calls=False
    ),
    "command-a-reasoning": _COHERE_FORMAT,
    "cohere-2-moe": _COHERE_FORMAT,
}
"""By family."""


def channel_format_of(family: str, tokenizer: ModelTokenizer) -> ChannelFormat | None:
    """The format of a family's answers; None where they are plain text, or the tokens are not there."""
    channel_format = CHANNEL_FORMATS.get(family)
    return channel_format if channel_format is not None and channel_format.is_of(tokenizer) else None
