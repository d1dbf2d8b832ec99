"""The model that is served, as text sees it: tokenizer, chat template, reasoning format, manifest.

Knows no engine: weights are the engine's.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anytime_server.errors import InvalidRequest, UnusableModel
from anytime_server.reasoning import PRESETS, Manifest, ReasoningFormat, detect_preset, open_thinking

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BUNDLED_MODELS = Path(__file__).parent / "checkpoints"
BUNDLED_MODEL = BUNDLED_MODELS / "demo"


class ModelTokenizer:
    """A Hugging Face tokenizer behind what this project needs of one."""

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
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UnusableModel(f"no tokenizer can be loaded from {folder}: {first_line}") from error
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise UnusableModel(
                f"the tokenizer in {folder} has no tokenizer.json, which streaming text needs"
            )
        if not tokenizer.chat_template:
            raise UnusableModel(f"the tokenizer in {folder} has no chat template")
        declared = [tokenizer.eos_token_id]
        generation_config = folder / "generation_config.json"
        if generation_config.exists():
            try:
                eos = json.loads(generation_config.read_text(encoding="utf-8")).get("eos_token_id")
            except (OSError, ValueError, AttributeError) as error:
                raise UnusableModel(f"{generation_config} cannot be read: {error}") from error
            declared += eos if isinstance(eos, list) else [eos]
        return cls(tokenizer, eos_ids=frozenset(i for i in declared if isinstance(i, int)))

    def encode(self, text: str) -> list[int]:
        # As a batch, because only then does it leave the other threads of this process running.
        [encoding] = self._tokenizer.backend_tokenizer.encode_batch_fast([text], add_special_tokens=False)
        return encoding.ids

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
    ) -> list[int]:
        """Ids of a conversation, ready for the assistant's turn.

        Args:
            tools: what the model may call, each `{"type": "function", "function": {...}}`.

        Raises:
            InvalidRequest: the chat template refuses these messages, or these tools, or what it makes of
                them is no text.
        """
        from jinja2 import TemplateError

        try:
            text = self._tokenizer.apply_chat_template(
                list(messages),
                tools=list(tools) if tools else None,
                add_generation_prompt=True,
                tokenize=False,
            )
        except (TemplateError, TypeError) as error:  # the latter of filters, given what they cannot take
            refused = "messages with these tools" if tools else "messages"
            raise InvalidRequest(
                f"the model's chat template refuses these {refused}: {error}", field="messages"
            ) from error
        assert isinstance(text, str)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(
                "messages: must be text, but have half of a surrogate pair", field="messages"
            ) from error
        return self.encode(text)

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

    def text_stream(self, *, keeps_special: bool = False) -> TextStream:
        return TextStream(self, keeps_special=keeps_special)


class TextStream:
    """Ids in, text out, holding back a character that is not complete.

    What an id reads as can depend on those before it, so the latest that were shown stay as
    context. Bytes that never become a character are let go as replacement characters.
    """

    LONGEST_TAIL = 4
    """Replacement characters that an incomplete character can read as: one for each of its bytes, and
    one for a space before it that a tokenizer may write as a byte, too."""

    def __init__(self, tokenizer: ModelTokenizer, *, keeps_special: bool = False) -> None:
        self._decode = partial(tokenizer.decode, keeps_special=keeps_special)
        self._context_ids: list[int] = []
        self._context = ""
        self._ids: list[int] = []
        self._num_shown = 0
        """Characters of what `_ids` read as that have been shown."""

    def push(self, token_ids: Sequence[int]) -> str:
        """Text that these ids complete; may be empty."""
        return "".join(self._push(token_id) for token_id in token_ids)

    def flush(self) -> str:
        """What was held back, complete or not."""
        text = self._text()
        return self._show(text, len(text))

    def _push(self, token_id: int) -> str:
        self._ids.append(token_id)
        text = self._text()
        return self._show(text, max(len(text.rstrip("\ufffd")), len(text) - self.LONGEST_TAIL))

    def _text(self) -> str:
        """What `_ids` read as, after the context."""
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


class Model:
    """What is served under one name."""

    def __init__(self, *, name: str, folder: Path, tokenizer: ModelTokenizer, manifest: Manifest) -> None:
        self.name = name
        self.folder = folder
        self.tokenizer = tokenizer
        self.manifest = manifest
        self.reasoning = ReasoningFormat.from_texts(manifest.texts, tokenizer)

    @classmethod
    def load(cls, folder: Path, *, name: str | None = None, preset: str | None = None) -> Model:
        """Read a checkpoint, all but its weights.

        Args:
            name: what clients call it; else the manifest's name, else the folder's.
            preset: family to take the reasoning texts from, over the manifest and detection.

        Raises:
            UnusableModel: it cannot be served, and why.
        """
        if not (folder / "config.json").is_file():
            raise UnusableModel(f"{folder} is not a checkpoint folder: it has no config.json", field="model")
        tokenizer = ModelTokenizer.load(folder)
        manifest = Manifest.load(folder)
        if manifest is None or preset is not None:
            family = preset or detect_preset(tokenizer)
            if family is None:
                raise UnusableModel(
                    f"{folder} has no anytime.json and is of no known family; say how it thinks "
                    f"with --reasoning-preset ({', '.join(PRESETS)}) or write its anytime.json",
                    field="reasoning_preset",
                )
            texts = PRESETS[family].texts.model_dump()
            known = manifest.model_dump() if manifest is not None else {}
            manifest = Manifest.model_validate(known | texts)
        return cls(
            name=name or manifest.name or folder.absolute().name,
            folder=folder,
            tokenizer=tokenizer,
            manifest=manifest,
        )

    @property
    def takes_tools(self) -> bool:
        """Whether the chat template tells the model of tools (`tool_calls` alone are earlier turns)."""
        return re.search(r"\btools\b", self.tokenizer.tool_template) is not None

    @cached_property
    def fingerprint(self) -> str:
        """Tells this checkpoint from others, by its texts, its configuration and a part of its weights."""
        digest = hashlib.sha256(self.manifest.texts.model_dump_json().encode())
        for path in sorted(self.folder.iterdir()):
            if path.name in ("config.json", "tokenizer.json"):
                digest.update(path.read_bytes())
            elif path.suffix == ".safetensors":
                size = path.stat().st_size
                digest.update(f"{path.name} {size}".encode())
                with path.open("rb") as file:
                    file.seek(size // 2)
                    digest.update(file.read(1 << 16))
        return digest.hexdigest()[:32]

    def prompt_ids(
        self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] | None = None
    ) -> list[int]:
        """The conversation with thinking open at its end."""
        return open_thinking(
            self.tokenizer.render(messages, tools), self.reasoning, blank_ids=self.tokenizer.blank_ids
        )
