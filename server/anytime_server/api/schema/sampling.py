"""Sampling fields under the names that vLLM, OpenAI and others share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, Strict, StrictBool, StrictInt

from anytime_server.api.schema.fields import BoundedList, Fields, Seed, Temperature, Text, TopP
from anytime_server.reasoning import SamplingOptions

MAX_BIASES = 1024
MAX_BIAS = 100
MAX_STOP_TOKEN_IDS = 128
MAX_BAD_WORDS = 64
"""vLLM takes 128, and counts most words twice: with a space before them, and without."""
MAX_ID = 2**31 - 1


def _logit_bias(value: Any) -> Any:
    """Biases by token id; JSON has the ids as strings."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError("must be an object of token ids and biases")
    if len(value) > MAX_BIASES:
        raise ValueError(f"must not have more than {MAX_BIASES} token ids")
    for token_id, bias in value.items():
        digits = str(token_id)
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= len(str(MAX_ID))):
            raise ValueError(f"must have token ids as names, not {digits[:40]!r}")
        is_number = isinstance(bias, int | float) and not isinstance(bias, bool)
        if not is_number or not -MAX_BIAS <= bias <= MAX_BIAS:
            raise ValueError(f"the bias of {digits} must be a number from -{MAX_BIAS} to {MAX_BIAS}")
    return {int(token_id): float(bias) for token_id, bias in value.items()}


def _every_token(top_k: int) -> int:
    return max(0, top_k)


def _word(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


TopK = Annotated[StrictInt, Field(ge=-1, le=MAX_ID), AfterValidator(_every_token)]
Penalty = Annotated[float, Strict(), Field(ge=-2, le=2)]
LogitBias = Annotated[dict[int, float] | None, BeforeValidator(_logit_bias, dict[str, float] | None)]
TokenCount = Annotated[StrictInt, Field(ge=0, le=MAX_ID)]
StopTokenIds = Annotated[BoundedList[TokenCount], Field(max_length=MAX_STOP_TOKEN_IDS)]
BadWords = Annotated[BoundedList[Annotated[Text, AfterValidator(_word)]], Field(max_length=MAX_BAD_WORDS)]


class SamplingFields(Fields):
    """How tokens are sampled. Defaults come from the model's `generation_config.json`."""

    temperature: Temperature | None = None
    """0 is greedy."""
    top_p: TopP | None = None
    """Share of the probability that the likeliest tokens to sample from have together."""
    top_k: TopK | None = None
    """Number of likeliest tokens to sample from; 0 or -1 is all."""
    min_p: Annotated[float, Strict(), Field(ge=0, le=1)] | None = None
    """Least probability of a token, relative to the likeliest."""
    presence_penalty: Penalty | None = None
    """Subtracted from the logits of tokens sampled before."""
    frequency_penalty: Penalty | None = None
    """Subtracted from a token's logit each time that it is sampled."""
    repetition_penalty: Annotated[float, Strict(), Field(ge=0.01, le=100)] | None = None
    """Makes tokens of the prompt and those sampled before less likely if it is over 1."""
    logit_bias: LogitBias = None
    """Added to the logits of these token ids, each from -100 to 100."""
    stop_token_ids: StopTokenIds | None = None
    """Token ids that end it, beside the model's own; they are not shown."""
    ignore_eos: StrictBool | None = None
    """Whether to go on after the end of the turn."""
    min_tokens: TokenCount | None = None
    """Tokens before which it does not end."""
    bad_words: BadWords | None = None
    """Words that are not sampled. Not on every engine."""

    def sampling_options(self) -> SamplingOptions:
        """The fields in no dialect."""
        given: dict[str, Any] = {name: getattr(self, name) for name in SamplingFields.model_fields}
        for name in ("stop_token_ids", "bad_words"):
            given[name] = None if given[name] is None else tuple(given[name])
        return SamplingOptions(**given)


class RequestSampling(SamplingFields):
    """Sampling of a whole request, in dialects where thinking and answer are not apart."""

    stop_token_ids: StopTokenIds | None = None
    """Token ids that end the answer, beside the model's own; they are not shown. The thinking goes on."""
    ignore_eos: StrictBool | None = None
    """Whether thinking and answer go on after the end of the turn, the answer to its last token."""
    min_tokens: TokenCount | None = None
    """Tokens of thinking and answer together before which the answer does not end."""
    skip_special_tokens: StrictBool | None = None
    """False shows special tokens in the answer's text."""
    seed: Seed | None = None
    """Makes thinking and answer repeatable."""

    def sampling(self) -> dict[str, Any]:
        """The fields of a `GenerateRequest` that these are."""
        options = self.sampling_options()
        return {
            "thinking": options.without(("stop_token_ids", "min_tokens")),
            "answer": options.without(("min_tokens",)),
            "least_tokens": self.min_tokens,
            "skip_special_tokens": self.skip_special_tokens is not False,
            "seed": self.seed,
        }
