"""The state of one sequence in an engine that decodes in this process. Knows no model and no torch."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from anytime_server.engine.base import Delta, EngineRequest, FinishReason, Generation, TopLogprobs
from anytime_server.errors import AnytimeError, EngineFailed

if TYPE_CHECKING:
    from anytime_server.engine.structured.matcher import Matcher


BANNED_LOGIT = -1e9
"""Finite, so that a row whose allowed tokens are all banned still has a distribution."""


class Edits(NamedTuple):
    """Tokens whose logits change, and by what."""

    token_ids: np.ndarray
    """int64."""
    values: np.ndarray
    """float64, one for each."""

    @classmethod
    def of(cls, values: Mapping[int, float]) -> Edits:
        return cls(
            np.fromiter(values.keys(), np.int64, len(values)),
            np.fromiter(values.values(), np.float64, len(values)),
        )

    @classmethod
    def with_one(cls, token_ids: Collection[int], value: float) -> Edits:
        return cls(np.fromiter(token_ids, np.int64, len(token_ids)), np.full(len(token_ids), value))


NO_EDITS = Edits.of({})


@dataclass(slots=True, kw_only=True, eq=False)
class SequenceState:
    """The tokens sampled for a request, and how the sequence ended."""

    request: EngineRequest
    news: asyncio.Event
    """Set when there are tokens or an end to deliver; sequences may share an event."""
    is_streamed: bool
    """Whether every token sets `news`, or only the end."""
    matcher: Matcher | None = None
    """Constrains the tokens to a schema."""
    prompt_ids: np.ndarray = field(init=False)
    """The prompt, int32."""
    seed: int = field(init=False)
    """Seed of the sampling, an unsigned 64-bit integer."""
    biases: Edits = field(init=False)
    """Added to logits."""
    always_banned: Edits = field(init=False)
    """The most that the logits of tokens can be that are never sampled."""
    banned_at_first: Edits = field(init=False)
    """The same before `min_tokens`, for the stop ids, too."""
    counts: Counter[int] = field(default_factory=Counter)
    """Times that each token was sampled, if that is penalized."""
    repeatable_ids: set[int] = field(default_factory=set)
    """Tokens of prompt and output, if repeating them is penalized."""
    token_ids: list[int] = field(default_factory=list)
    """Sampled tokens."""
    logprobs: list[float] = field(default_factory=list)
    """One for each of `token_ids`."""
    top_logprobs: list[TopLogprobs] = field(default_factory=list)
    """One for each of `token_ids`, if requested."""
    cached_tokens: int = 0
    """Prompt tokens whose keys and values were cached."""
    finish_reason: FinishReason | None = None
    """Set at the end of the sequence, unless it failed."""
    error: AnytimeError | None = None
    """Set if the sequence failed."""

    def __post_init__(self) -> None:
        sampling = self.request.sampling
        self.prompt_ids = np.asarray(self.request.prompt_ids, np.int32)
        seed = secrets.randbits(64) if sampling.seed is None else sampling.seed
        self.seed = seed % 2**64
        self.biases = Edits.of(sampling.logit_bias)
        self.always_banned = Edits.with_one(sampling.banned_ids, BANNED_LOGIT)
        self.banned_at_first = Edits.with_one(sampling.banned_ids | sampling.stop_ids, BANNED_LOGIT)
        if sampling.repetition_penalty != 1:
            self.repeatable_ids.update(self.request.prompt_ids)

    @property
    def salt(self) -> int:
        """The cache salt as a 64-bit integer."""
        return hash(self.request.cache_salt)

    @property
    def total_tokens(self) -> int:
        """Maximum length of prompt and output together."""
        return len(self.request.prompt_ids) + self.request.sampling.max_tokens

    @property
    def position(self) -> int:
        """Position of the next token, counted from the start of the prompt."""
        return len(self.request.prompt_ids) + len(self.token_ids)

    @property
    def bans(self) -> Edits:
        """The most that the logits of tokens can be that must not be sampled next."""
        early = len(self.token_ids) < self.request.sampling.min_tokens and self.matcher is None
        return self.banned_at_first if early else self.always_banned

    @property
    def repetition_penalties(self) -> Edits:
        """Divide positive logits, and multiply negative ones."""
        if not self.repeatable_ids:
            return NO_EDITS
        return Edits.with_one(self.repeatable_ids, self.request.sampling.repetition_penalty)

    @property
    def penalties(self) -> Edits:
        """Subtracted from logits."""
        if not self.counts:
            return NO_EDITS
        sampling = self.request.sampling
        counted = Edits.of(self.counts)
        return Edits(
            counted.token_ids, sampling.presence_penalty + sampling.frequency_penalty * counted.values
        )

    @property
    def ended(self) -> bool:
        return self.finish_reason is not None or self.error is not None

    def take(self, token_id: int, logprob: float, top_logprobs: TopLogprobs = ()) -> None:
        """Add a sampled token, unless the sequence has ended meanwhile."""
        if self.ended:
            return
        if self.matcher is not None and not self.matcher.accept(token_id):
            self.end(error=EngineFailed("no token continues the JSON that the schema requires"))
            return
        sampling = self.request.sampling
        self.token_ids.append(token_id)
        self.logprobs.append(logprob)
        if sampling.presence_penalty or sampling.frequency_penalty:
            self.counts[token_id] += 1
        if sampling.repetition_penalty != 1:
            self.repeatable_ids.add(token_id)
        if sampling.top_logprobs:
            self.top_logprobs.append(top_logprobs)
        if token_id in sampling.stop_ids:
            self.finish_reason = "stop"
        elif len(self.token_ids) == sampling.max_tokens:
            self.finish_reason = "length"
        if self.is_streamed or self.finish_reason is not None:
            self.news.set()

    def end(self, *, error: AnytimeError | None = None) -> None:
        """End the sequence early: failed with an error, or aborted."""
        if not self.ended:
            self.error = error
            self.finish_reason = None if error else "abort"
            self.news.set()

    def delta(self, since: int) -> Delta:
        """The delta after the first `since` tokens."""
        return Delta(
            token_ids=tuple(self.token_ids[since:]),
            logprobs=tuple(self.logprobs[since:]),
            cached_tokens=self.cached_tokens,
            finish_reason=self.finish_reason,
            top_logprobs=tuple(self.top_logprobs[since:]),
        )

    def generation(self) -> Generation:
        """The whole sequence, after its end."""
        assert self.finish_reason is not None
        return Generation(
            token_ids=tuple(self.token_ids),
            logprobs=tuple(self.logprobs),
            cached_tokens=self.cached_tokens,
            finish_reason=self.finish_reason,
        )
