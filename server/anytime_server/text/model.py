"""The model that is served, as text sees it: tokenizer, chat template, reasoning format, manifest.

Knows no engine: weights are the engine's.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from anytime_server.errors import InvalidRequest, UnusableModel
from anytime_server.reasoning import (
    PRESETS,
    FamilyName,
    Manifest,
    ReasoningFormat,
    detect_preset,
    open_thinking,
)
from anytime_server.text.generation_config import sampling_defaults
from anytime_server.text.tokenizer import ModelTokenizer

BUNDLED_MODELS = Path(__file__).parents[1] / "checkpoints"
BUNDLED_MODEL = BUNDLED_MODELS / "demo"


class Model:
    """A model that is served under one name."""

    def __init__(self, *, name: str, folder: Path, tokenizer: ModelTokenizer, manifest: Manifest) -> None:
        self.name = name
        self.folder = folder
        self.tokenizer = tokenizer
        self.manifest = manifest
        self.reasoning = ReasoningFormat.from_texts(manifest.texts, tokenizer)
        self.sampling = sampling_defaults(folder)

    @classmethod
    def load(cls, folder: Path, *, name: str | None = None, preset: FamilyName | None = None) -> Model:
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
        """Whether the chat template shows tools to the model (`tool_calls` alone are earlier turns)."""
        return re.search(r"\btools\b", self.tokenizer.tool_template) is not None

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the checkpoint's texts, configuration and a part of its weights."""
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
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]] | None = None,
        *,
        window_tokens: int | None = None,
        abandoned: threading.Event | None = None,
    ) -> list[int]:
        """The conversation with thinking open at its end.

        Args:
            window_tokens: the most tokens that are of use. A prompt may have a few more, but a prompt that
                has many more is refused before all of it is encoded.
            abandoned: ends the work when it is set.

        Raises:
            InvalidRequest: the chat template refuses the conversation, or it is much too long.
            CancelledError: it was abandoned.
        """
        text = self.tokenizer.render(messages, tools)
        if window_tokens is None:
            ids = self.tokenizer.encode(text)
        elif (ids := self.tokenizer.encode_within(text, window_tokens, abandoned=abandoned)) is None:
            raise InvalidRequest(
                f"the prompt of {len(text)} characters has more tokens than the model's window of "
                f"{window_tokens}",
                field="messages",
            )
        return open_thinking(ids, self.reasoning, blank_ids=self.tokenizer.blank_ids)
