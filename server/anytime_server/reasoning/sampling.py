"""Sampling options of one phase, thinking or answer: as requested, or as a model's card gives them.

Knows no engine and no request format; values are checked where they are read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

TOKEN_FIELDS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logit_bias",
    "bad_words",
)
"""Options that engines know under the same names: they decide which token is sampled next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingOptions:
    """How a phase is sampled; None where it is not given."""

    temperature: float | None = None
    """0 is greedy."""
    top_p: float | None = None
    """Nucleus sampling; 1 keeps every token."""
    top_k: int | None = None
    """Number of likeliest tokens to keep; 0 keeps every token."""
    min_p: float | None = None
    """Least probability of a token, relative to the likeliest; 0 keeps every token."""
    presence_penalty: float | None = None
    """Subtracted from the logit of each token that the phase has sampled."""
    frequency_penalty: float | None = None
    """Subtracted from the logit of a token each time that the phase has sampled it."""
    repetition_penalty: float | None = None
    """Divides a positive logit, and multiplies a negative one, of tokens in the prompt or sampled; 1 changes
    nothing."""
    logit_bias: Mapping[int, float] | None = None
    """Added to the logits of these token ids."""
    bad_words: tuple[str, ...] | None = None
    """Texts whose last token is not sampled after the tokens before it."""
    stop_token_ids: tuple[int, ...] | None = None
    """Token ids that end the phase, beside the model's own."""
    ignore_eos: bool | None = None
    """Whether the end of the turn does not end the phase."""
    min_tokens: int | None = None
    """Tokens of the phase before which nothing ends it that the model samples."""

    def over(self, defaults: SamplingOptions) -> SamplingOptions:
        """These options, and the defaults where they are not given."""
        return dataclasses.replace(defaults, **self.given())

    def without(self, fields: Collection[str]) -> SamplingOptions:
        """These options, but for some fields."""
        return dataclasses.replace(self, **dict.fromkeys(fields, None))

    def given(self) -> dict[str, Any]:
        """The options that are given, by name."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def token_fields(self) -> dict[str, Any]:
        """The given options that engines know under the same names."""
        return {name: value for name, value in self.given().items() if name in TOKEN_FIELDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingDefaults:
    """A model's own options, which apply where a request gives none."""

    thinking: SamplingOptions
    answer: SamplingOptions


NEUTRAL = SamplingOptions(temperature=1.0, top_p=1.0)
"""Values beside the numbers of a card that leaves them out, as in vLLM."""
FALLBACK = SamplingDefaults(
    thinking=SamplingOptions(temperature=0.6, top_p=0.95), answer=SamplingOptions(temperature=0.0, top_p=1.0)
)
"""For models whose card says nothing: thinking that is greedy repeats itself, an answer need not vary."""
