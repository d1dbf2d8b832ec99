"""A checkpoint's tokenizer and chat template. Knows nothing of thinking."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anytime_server.errors import InvalidRequest, UnusableModel, first_line
from anytime_server.printable import is_encodable
from anytime_server.text.detokenizer import Detokenizer
from anytime_server.text.generation_config import end_of_turn_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


USUAL_CHARACTERS = 4
"""Characters of a usual token. A text with fewer for each token of the limit is encoded at once."""
PIECE_CHARACTERS = 1 << 14
"""Longer texts are first encoded in pieces, until they are sure to be too long."""
CERTAINTY, CERTAIN_TOKENS = 1.25, 64
"""Pieces have a few tokens more than the whole, because a boundary may divide a token. A text is sure to be
too long when its pieces have more than 1.25 times the limit and 64 tokens."""


class ModelTokenizer:
    """A Hugging Face tokenizer with the interface that this project needs."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, eos_ids: frozenset[int]) -> None:
        # A checkpoint can carry over how it was trained: prompts are neither cut nor filled up here.
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._vocabulary = tokenizer.get_vocab()
        self.eos_ids = eos_ids

    @classmethod
    def load(cls, folder: Path) -> ModelTokenizer:
        """Read the tokenizer of a checkpoint, and every end-of-turn token it declares.

        Raises:
            UnusableModel: there is none, or it has no chat template.
        """
        logging.getLogger("transformers").setLevel(logging.ERROR)
        from transformers import AutoTokenizer, PreTrainedTokenizerFast

        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:
            raise UnusableModel(f"no tokenizer can be loaded from {folder}: {first_line(error)}") from error
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise UnusableModel(
                f"the tokenizer in {folder} has no tokenizer.json, which streaming text needs"
            )
        if not tokenizer.chat_template:
            raise UnusableModel(f"the tokenizer in {folder} has no chat template")
        added_ids = tokenizer.added_tokens_decoder.keys()
        declared = [tokenizer.eos_token_id, *end_of_turn_ids(folder, added_ids=added_ids)]
        return cls(tokenizer, eos_ids=frozenset(i for i in declared if isinstance(i, int)))

    def encode(self, text: str) -> list[int]:
        # As a batch, because only then does it leave the other threads of this process running.
        [encoding] = self._tokenizer.backend_tokenizer.encode_batch_fast([text], add_special_tokens=False)
        return encoding.ids

    def encode_within(
        self, text: str, max_tokens: int, *, abandoned: threading.Event | None = None
    ) -> list[int] | None:
        """Ids of a text, or None where it is sure to have more than `max_tokens`, of which few are made.

        A text that is a little longer is encoded all the same.

        Args:
            abandoned: ends the work when it is set.

        Raises:
            CancelledError: it was abandoned.
        """
        if len(text) > USUAL_CHARACTERS * max_tokens:
            num_tokens = 0
            for begin in range(0, len(text), PIECE_CHARACTERS):
                if abandoned is not None and abandoned.is_set():
                    raise CancelledError
                num_tokens += len(self.encode(text[begin : begin + PIECE_CHARACTERS]))
                if num_tokens > CERTAINTY * max_tokens + CERTAIN_TOKENS:
                    return None
        return self.encode(text)

    def token_id(self, token: str) -> int | None:
        return self._vocabulary.get(token)

    @property
    def hugging_face(self) -> PreTrainedTokenizerFast:
        """The tokenizer itself, for libraries that ask for one."""
        return self._tokenizer

    def decode(self, token_ids: Sequence[int], *, keeps_special: bool = False) -> str:
        """Text of these ids, without special tokens unless `keeps_special`."""
        return self._tokenizer.backend_tokenizer.decode(
            list(token_ids), skip_special_tokens=not keeps_special
        )

    @property
    def tool_template(self) -> str:
        """The chat template that conversations with tools are rendered by."""
        return self._tokenizer.get_chat_template(tools=[{}])

    def render(
        self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] | None = None
    ) -> str:
        """The text of a conversation, ready for the assistant's turn.

        Args:
            tools: what the model may call, each `{"type": "function", "function": {...}}`.

        Raises:
            InvalidRequest: the chat template refuses these messages, or these tools, or what it makes of
                them is no text.
        """
        try:
            text = self._tokenizer.apply_chat_template(
                list(messages),
                tools=list(tools) if tools else None,
                add_generation_prompt=True,
                tokenize=False,
            )
        except Exception as error:  # of any type: a template computes with what it is given
            refused = "messages with these tools" if tools else "messages"
            raise InvalidRequest(
                f"the model's chat template refuses these {refused}: {first_line(error)}", field="messages"
            ) from error
        assert isinstance(text, str)
        if not is_encodable(text):
            raise InvalidRequest(
                "messages: must be text, but have half of a surrogate pair", field="messages"
            )
        return text

    @cached_property
    def blank_ids(self) -> frozenset[int]:
        """Ids of white space that is text, not a special token."""
        special_ids = set(self._tokenizer.all_special_ids)
        decode = self._tokenizer.backend_tokenizer.decode
        return frozenset(
            token_id
            for token_id in self._vocabulary.values()
            if token_id not in special_ids
            and (text := decode([token_id], skip_special_tokens=False))
            and text.isspace()
        )

    def detokenizer(self, *, keeps_special: bool = False) -> Detokenizer:
        """A detokenizer for one stream of ids."""
        return Detokenizer(partial(self.decode, keeps_special=keeps_special))
