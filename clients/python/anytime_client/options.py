"""The options of `think`, named as on the wire, and the request body built from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict


class Message(TypedDict):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: NotRequired[str | Sequence[Mapping[str, str]] | None]
    """Text, or parts `{"type": "text", "text": ...}`; optional only beside `tool_calls`."""
    name: NotRequired[str]
    """Name of the tool."""
    reasoning_content: NotRequired[str]
    """The thinking of an earlier assistant turn."""
    tool_calls: NotRequired[Sequence[Mapping[str, Any]]]
    """Tool calls of an assistant turn."""
    tool_call_id: NotRequired[str]
    """Id of the tool call that this turn is the result of."""


Messages: TypeAlias = str | Sequence[Message] | Sequence[Mapping[str, Any]]
"""A conversation; a string is a single user message. Other mappings are sent unchanged."""


class Budget(TypedDict, total=False):
    """Limits of the thinking, which stops at the first one reached."""

    tokens: int
    """Maximum number of thinking tokens, exact; 0 answers immediately."""
    share: float
    """The same as a share of the prompt's tokens, or of what `of` names."""
    of: Literal["prompt", "max_tokens"]
    """The number that `share` is multiplied by: the prompt's tokens (the default), or `answer.max_tokens`."""
    grace: int
    """Maximum number of tokens over the budget, to the end of a sentence."""
    deadline_ms: int
    """Milliseconds from the request's arrival until the last token of the answer is due."""


class LoopOptions(TypedDict, total=False):
    """The definition of a repetition loop."""

    repeats: int
    """Number of times in a row that a phrase must occur; by default 4."""
    min_tokens: int
    """Number of tokens that these must have together; by default 128."""


class StopWhen(TypedDict, total=False):
    """Stop the thinking once early answers agree, or at a repetition loop. `stable` needs `every_tokens`."""

    stable: int
    """Number of consecutive answers that must agree."""
    every_tokens: int
    """Thinking tokens between two answers."""
    min_confidence: float
    """An answer whose confidence is lower agrees with no other."""
    loop: bool | LoopOptions
    """Stop at a repetition loop, or never; by default as the server's option `--stop-loops` says."""


class SamplingOptions(TypedDict, total=False):
    """Sampling of one phase. Options left out have the model's own values."""

    temperature: float
    """0 is greedy."""
    top_p: float
    top_k: int
    """Number of likeliest tokens to sample from; 0 is all."""
    min_p: float
    """Minimum probability of a token, relative to the likeliest."""
    presence_penalty: float
    frequency_penalty: float
    repetition_penalty: float
    logit_bias: Mapping[str, float]
    """Added to logits, by token id."""
    stop_token_ids: Sequence[int]
    """Token ids that end the phase, in addition to the model's own."""
    ignore_eos: bool
    """Whether the phase goes on after the end of the turn."""
    min_tokens: int
    """Minimum number of tokens."""
    bad_words: Sequence[str]
    """Words that are not sampled; some engines refuse this."""


class AnswerOptions(SamplingOptions, total=False):
    """Sampling of the answer."""

    max_tokens: int
    """Maximum number of answer tokens; room for them is reserved in the context window. Default: all that the
    window leaves."""
    skip_special_tokens: bool
    """False shows special tokens in the text."""
    response_format: Mapping[str, Any]
    """`{"type": "json_object"}`, or `{"type": "json_schema", "json_schema": {"schema": {...}}}`."""
    forcing: Literal["close", "force"]
    """At a truncation, `close` only ends the thinking; `force` also inserts the lead-in of the answer."""


class ThinkingOptions(SamplingOptions, total=False):
    """Sampling of the thinking."""

    seed: int
    """Makes the whole session reproducible."""


class Options(TypedDict, total=False):
    """The options of `think`. None is the same as leaving the option out."""

    model: str | None
    """Name of the model; optional if the server has only one."""
    budget: int | Budget | None
    """Thinking tokens, or an object with `tokens`, `share`, `grace` and `deadline_ms`. Default: the server's,
    or as many as fit the window."""
    budgets: Sequence[int] | None
    """Give early answers at these numbers of thinking tokens, while the thinking goes on."""
    stop_when: StopWhen | None
    """Stop the thinking once early answers, sampled for this purpose, agree."""
    answer: AnswerOptions | None
    thinking: ThinkingOptions | None
    continuation: str | None
    """Token of an earlier `Result` or `Done`: resume its thinking, with `budget` tokens more."""


def request_body(messages: Messages, options: Options) -> dict[str, Any]:
    """The body of a request; options that are None or left out are not sent."""
    turns = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
    fields = {name: value for name, value in options.items() if value is not None}
    return {"messages": turns, **fields, "stream": True}
