"""A checkpoint's tokenizer. Knows nothing of thinking."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from anytime_server.errors import UnusableModel, first_line
from anytime_server.text.chat_template import ChatTemplate
from anytime_server.text.detokenizer import Detokenizer
from anytime_server.text.generation_config import end_of_turn_ids
from anytime_server.text.json_file import json_object
from anytime_server.text.tokenizer_files import CONFIG, SETTINGS, TOKENIZER, tokenizer_folder

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

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        *,
        eos_ids: frozenset[int],
        folder: Path | None = None,
        files: Path | None = None,
    ) -> None:
        """
        Args:
            folder: of the checkpoint.
            files: folder of its `tokenizer.json`; by default the checkpoint's.
        """
        # A checkpoint can carry over how it was trained: prompts are neither cut nor filled up here.
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._vocabulary = tokenizer.get_vocab()
        self.eos_ids = eos_ids
        self.folder = folder
        self.files = files or folder
        self.chat = ChatTemplate(tokenizer)

    @classmethod
    def load(
        cls, folder: Path, *, chat_template: str | None = None, trust_remote_code: bool = False
    ) -> ModelTokenizer:
        """Read the tokenizer of a checkpoint, and every end-of-turn token it declares.

        Args:
            chat_template: text of a Jinja template to use instead of the checkpoint's own.
            trust_remote_code: whether Python code of the checkpoint may run.

        Raises:
            UnusableModel: there is none, or it has no chat template.
        """
        logging.getLogger("transformers").setLevel(logging.ERROR)
        from transformers import AutoTokenizer, PreTrainedTokenizerFast

        files = tokenizer_folder(folder, trust_remote_code=trust_remote_code)
        # The classes that AutoTokenizer chooses change some of what tokenizer.json says.
        loader = PreTrainedTokenizerFast if (files / TOKENIZER).is_file() else AutoTokenizer
        try:
            tokenizer = loader.from_pretrained(files, local_files_only=True)
        except Exception as error:
            for name in (CONFIG, SETTINGS, TOKENIZER):
                json_object(files / name)
            path = files / TOKENIZER if (files / TOKENIZER).is_file() else folder
            raise UnusableModel(f"no tokenizer can be loaded from {path}: {first_line(error)}") from error
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise UnusableModel(
                f"the tokenizer in {folder} has no tokenizer.json, which streaming text needs"
            )
        if chat_template is not None:
            tokenizer.chat_template = chat_template
        if not tokenizer.chat_template:
            raise UnusableModel(
                f"the tokenizer in {folder} has no chat template; give one with --chat-template FILE",
                field="chat_template",
            )
        added_ids = tokenizer.added_tokens_decoder.keys()
        num_ids = 1 + max(tokenizer.get_vocab().values(), default=0)
        declared = [tokenizer.eos_token_id, *end_of_turn_ids(folder, added_ids=added_ids, num_ids=num_ids)]
        eos_ids = frozenset(i for i in declared if isinstance(i, int))
        return cls(tokenizer, eos_ids=eos_ids, folder=folder, files=files)

    def encode(self, text: str, *, adds_special: bool = False) -> list[int]:
        """Ids of a text.

        Args:
            adds_special: whether special tokens are added around it, such as one at the beginning.
        """
        # As a batch, because only then does it leave the other threads of this process running.
        [encoding] = self._tokenizer.backend_tokenizer.encode_batch_fast(
            [text], add_special_tokens=adds_special
        )
        return encoding.ids

    def encode_within(
        self,
        text: str,
        max_tokens: int,
        *,
        abandoned: threading.Event | None = None,
        adds_special: bool = False,
    ) -> list[int] | int:
        """Ids of a text, or about how many it has where these are sure to be more than `max_tokens`.

        A text that is a little longer is encoded all the same.

        Args:
            abandoned: ends the work when it is set.
            adds_special: as in `encode()`.

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
                    return num_tokens * len(text) // min(begin + PIECE_CHARACTERS, len(text))
        return self.encode(text, adds_special=adds_special)

    @cached_property
    def num_ids(self) -> int:
        """One more than the largest token id."""
        return 1 + max(self._vocabulary.values())

    def vocabulary_entries(self, token_ids: Sequence[int]) -> list[str]:
        """The tokens of these ids, as in the vocabulary."""
        entries = self._tokenizer.convert_ids_to_tokens(list(token_ids))
        assert isinstance(entries, list)
        return entries

    def token_id(self, token: str) -> int | None:
        return self._vocabulary.get(token)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of the special tokens, which are no text."""
        added = self._tokenizer.added_tokens_decoder
        return frozenset(token_id for token_id, token in added.items() if token.special)

    @property
    def hugging_face(self) -> PreTrainedTokenizerFast:
        """The tokenizer itself, for libraries that ask for one."""
        return self._tokenizer

    def decode(self, token_ids: Sequence[int], *, keeps_special: bool = False) -> str:
        """Text of these ids, without special tokens unless `keeps_special`."""
        return self._tokenizer.backend_tokenizer.decode(
            list(token_ids), skip_special_tokens=not keeps_special
        )

    def detokenizer(self, *, keeps_special: bool = False) -> Detokenizer:
        """A detokenizer for one stream of ids."""
        return Detokenizer(partial(self.decode, keeps_special=keeps_special))
