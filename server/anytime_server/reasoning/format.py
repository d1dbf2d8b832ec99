"""The texts around a model's thinking, and their token ids.

The texts come from a checkpoint's manifest or its family; the ids always from its tokenizer, never from a
literal.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from pydantic import BaseModel, ConfigDict, model_validator

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
    """The texts around thinking. Each may be one token, several tokens, or ordinary text."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    think_start: str
    """Opens thinking, with its label if it has one (`<think>`, `<|channel|>analysis<|message|>`); empty for a
    model that does not think."""
    think_end: str
    """Ends thinking; empty for a model that does not think."""
    truncation: str
    """Inserted, before the think-end, where thinking was truncated; may be empty."""
    answer_lead_in: str
    """Begins the answer, as `forcing` says; may be empty."""
    think_end_variants: tuple[str, ...] = ()
    """Other texts that end thinking, as some models write them."""
    answer_start: str = ""
    """Opens the answer after the think-end (`<answer>`, a final channel); may be empty."""
    answer_start_with_tools: str = ""
    """The same where the model may call tools instead of answering; may be empty."""
    answer_end: str = ""
    """Closes the answer, which does not contain it; may be empty."""
    no_thinking: str | None = None
    """The form of an answer without thinking that the model was trained with, such as an empty block, in
    place of `think_start`; None to close the thinking like any other."""

    @model_validator(mode="after")
    def _both_or_none(self) -> ReasoningTexts:
        if bool(self.think_start) != bool(self.think_end):
            raise ValueError("think_start and think_end must both be given, or both be empty")
        ends = [
            ("think_end", self.think_end),
            *(("think_end_variants", end) for end in self.think_end_variants),
        ]
        for name, text in (("think_start", self.think_start), *ends):
            if self.think_start and not text.strip():
                raise ValueError(f"{name} must not be white space")
        if self.think_start and self.think_start.strip() == self.think_end.strip():
            raise ValueError("think_end must not be think_start")
        return self

    @property
    def opens_answer_without_thinking(self) -> bool:
        """Whether the form of no thinking goes into the answer, so that no tool can be called after it."""
        form, start = (self.no_thinking or "").strip(), self.answer_start.strip()
        return bool(form and start) and (form.endswith(start) or start.endswith(form))

    @property
    def think_ends(self) -> tuple[str, ...]:
        """All texts that end thinking; the first one is inserted."""
        return (self.think_end, *self.think_end_variants)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkEndText:
    """A think-end that is no single token: it is found in the text, across the borders of tokens."""

    texts: tuple[str, ...]
    """Any of them ends the thinking."""
    rests: tuple[tuple[int, ...], ...]
    """Ids of the rest of the first text, by the number of its characters that are there already."""
    answer_start_rests: tuple[tuple[int, ...], ...]
    """Ids of the rest of the answer-start, by the number of its characters that are there already."""
    answer_start: str


@dataclass(frozen=True, kw_only=True)
class ReasoningFormat:
    """`ReasoningTexts` in the ids of one tokenizer."""

    think_start_ids: tuple[int, ...]
    """Empty for a model that does not think."""
    think_end_ids: tuple[int, ...]
    truncation_ids: tuple[int, ...]
    answer_lead_in_ids: tuple[int, ...]
    eos_ids: frozenset[int]
    answer_start_ids: tuple[int, ...] = ()
    answer_start_with_tools_ids: tuple[int, ...] = ()
    no_thinking_ids: tuple[int, ...] | None = None
    """Of an answer without thinking, in place of the think-start."""
    no_thinking_with_tools_ids: tuple[int, ...] | None = None
    """The same where the model may call tools; None, too, where that form opens the answer."""
    think_end_text: ThinkEndText | None = None
    """How the think-end is found where it is no single token; None where it is one."""

    @classmethod
    def from_texts(cls, texts: ReasoningTexts, tokenizer: Tokenizer) -> ReasoningFormat:
        """Look the ids up.

        Raises:
            UnusableModel: a text that is to be inserted contains a marker of the thinking or an end-of-turn
                token, or no end-of-turn token is known.
        """
        if not tokenizer.eos_ids:
            raise UnusableModel("the tokenizer names no end-of-turn token (eos_token)", field="eos_token")
        _require_insertable(texts, tokenizer)

        def ids(text: str) -> tuple[int, ...]:
            token_id = tokenizer.token_id(text)
            return tuple(tokenizer.encode(text)) if token_id is None else (token_id,)

        no_thinking_ids = None if texts.no_thinking is None else tuple(tokenizer.encode(texts.no_thinking))
        return cls(
            think_start_ids=ids(texts.think_start) if texts.think_start else (),
            think_end_ids=ids(texts.think_end) if texts.think_end else (),
            truncation_ids=tuple(tokenizer.encode(texts.truncation)),
            answer_lead_in_ids=tuple(tokenizer.encode(texts.answer_lead_in)),
            eos_ids=tokenizer.eos_ids,
            answer_start_ids=tuple(tokenizer.encode(texts.answer_start)),
            answer_start_with_tools_ids=tuple(tokenizer.encode(texts.answer_start_with_tools)),
            no_thinking_ids=no_thinking_ids,
            no_thinking_with_tools_ids=None if texts.opens_answer_without_thinking else no_thinking_ids,
            think_end_text=_think_end_text(texts, tokenizer),
        )

    @property
    def thinks(self) -> bool:
        """Whether the model thinks at all."""
        return bool(self.think_start_ids)

    @property
    def think_start_id(self) -> int | None:
        """The token that opens thinking, if a single one does."""
        return self.think_start_ids[0] if len(self.think_start_ids) == 1 else None

    @property
    def think_end_id(self) -> int | None:
        """The token that ends thinking, if a single one does."""
        return self.think_end_ids[0] if self.thinks and self.think_end_text is None else None

    def opener_of_answer(self, *, may_call_tools: bool) -> tuple[int, ...]:
        """Ids that open the answer after a think-end."""
        return self.answer_start_with_tools_ids if may_call_tools else self.answer_start_ids

    @property
    def rest_of_answer_start(self) -> tuple[int, ...]:
        """Ids that open the answer where it was begun as one with tools."""
        begun = self.answer_start_with_tools_ids
        is_begun = self.answer_start_ids[: len(begun)] == begun
        return self.answer_start_ids[len(begun) :] if is_begun else self.answer_start_ids

    def form_without_thinking(self, *, may_call_tools: bool) -> tuple[int, ...] | None:
        """Ids of an answer without thinking, in place of the think-start; None to close the thinking."""
        return self.no_thinking_with_tools_ids if may_call_tools else self.no_thinking_ids

    @cached_property
    def thinking_stop_ids(self) -> frozenset[int]:
        """Sampling any of these ends the thinking: the think-end, or the end of the turn."""
        return self.eos_ids if self.think_end_id is None else self.eos_ids | {self.think_end_id}

    @property
    def max_inserted_tokens(self) -> int:
        """The most tokens that a truncation can insert."""
        opened = max(len(self.answer_start_ids), len(self.answer_start_with_tools_ids))
        closed = len(self.truncation_ids) + len(self.think_end_ids) + opened
        return max(closed, len(self.no_thinking_ids or ())) + len(self.answer_lead_in_ids)


INSERTED = ("truncation", "answer_lead_in", "answer_start", "answer_start_with_tools")
"""Texts that are inserted beside the think-end."""


def _require_insertable(texts: ReasoningTexts, tokenizer: Tokenizer) -> None:
    """Check that no text which is inserted has what opens or ends thinking, or ends the turn."""
    for name, text in ((name, getattr(texts, name)) for name in INSERTED):
        reason = next(
            (
                f"the {what} {marker!r}: it is inserted by itself"
                for what, marker in (("think-start", texts.think_start), ("think-end", texts.think_end))
                if marker and marker in text
            ),
            None,
        )
        if reason is None and tokenizer.eos_ids.intersection(tokenizer.encode(text)):
            reason = "an end-of-turn token: nothing could follow it"
        if reason is not None:
            raise UnusableModel(f"{name} must not contain {reason}", field=name)


def _think_end_text(texts: ReasoningTexts, tokenizer: Tokenizer) -> ThinkEndText | None:
    if not texts.think_end or (
        tokenizer.token_id(texts.think_end) is not None and not texts.think_end_variants
    ):
        return None

    def rests(text: str) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(tokenizer.encode(text[num:])) for num in range(len(text) + 1))

    return ThinkEndText(
        texts=texts.think_ends,
        rests=rests(texts.think_end),
        answer_start_rests=rests(texts.answer_start),
        answer_start=texts.answer_start,
    )
