"""The texts around a model's thinking, and their token ids.

The texts come from a checkpoint's manifest or a family preset; the ids always from its
tokenizer, never from a literal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from anytime_server.errors import UnusableModel


class Tokenizer(Protocol):
    """The little that reasoning needs of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without any special tokens added around it."""
        ...

    def token_id(self, token: str) -> int | None:
        """Id of a vocabulary entry, or None if there is none of that name."""
        ...

    @property
    def eos_ids(self) -> frozenset[int]:
        """Ids that end a turn."""
        ...


class ReasoningTexts(BaseModel):
    """The texts around thinking."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    think_start: str
    """Opens thinking; one token in the vocabulary."""
    think_end: str
    """Ends thinking; one token in the vocabulary."""
    truncation: str
    """Inserted, before the think-end, where thinking was truncated; may be empty."""
    answer_lead_in: str
    """Inserted after the think-end, however the thinking ended; may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningFormat:
    """`ReasoningTexts` in the ids of one tokenizer."""

    think_start_id: int
    think_end_id: int
    truncation_ids: tuple[int, ...]
    answer_lead_in_ids: tuple[int, ...]
    eos_ids: frozenset[int]

    @classmethod
    def from_texts(cls, texts: ReasoningTexts, tokenizer: Tokenizer) -> ReasoningFormat:
        """Look the ids up.

        Raises:
            UnusableModel: the think-start or think-end is not one token, a text that is to be
                inserted contains the think-end, or no end-of-turn token is known.
        """
        think_start_id = tokenizer.token_id(texts.think_start)
        think_end_id = tokenizer.token_id(texts.think_end)
        for name, text, token_id in (
            ("think_start", texts.think_start, think_start_id),
            ("think_end", texts.think_end, think_end_id),
        ):
            if token_id is None:
                raise UnusableModel(
                    f"{name} {text!r} is not one token of this model's tokenizer; "
                    "give the model's own with an anytime.json or --reasoning-preset",
                    field=name,
                )
        assert think_start_id is not None
        assert think_end_id is not None
        if not tokenizer.eos_ids:
            raise UnusableModel("the tokenizer names no end-of-turn token (eos_token)", field="eos_token")
        truncation_ids = tuple(tokenizer.encode(texts.truncation))
        answer_lead_in_ids = tuple(tokenizer.encode(texts.answer_lead_in))
        for name, ids in (("truncation", truncation_ids), ("answer_lead_in", answer_lead_in_ids)):
            if think_end_id in ids:
                raise UnusableModel(
                    f"{name} must not contain the think-end {texts.think_end!r}: it is inserted by itself",
                    field=name,
                )
        return cls(
            think_start_id=think_start_id,
            think_end_id=think_end_id,
            truncation_ids=truncation_ids,
            answer_lead_in_ids=answer_lead_in_ids,
            eos_ids=tokenizer.eos_ids,
        )

    @property
    def thinking_stop_ids(self) -> frozenset[int]:
        """Sampling any of these ends the thinking: the think-end, or the end of the turn."""
        return self.eos_ids | {self.think_end_id}

    @property
    def max_inserted_tokens(self) -> int:
        """The most tokens that a truncation can insert."""
        return len(self.truncation_ids) + 1 + len(self.answer_lead_in_ids)
