"""One request under way in an engine that decodes in this process. Knows no model and no torch."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from anytime_server.engine.base import Delta, EngineRequest, FinishReason, Generation, TopLogprobs
from anytime_server.errors import AnytimeError, EngineFailed

if TYPE_CHECKING:
    from anytime_server.engine.structured.grammar import Matcher


@dataclass(slots=True, kw_only=True, eq=False)
class Continuation:
    """What has been sampled for a request so far, and how it ended."""

    request: EngineRequest
    """What was asked for."""
    news: asyncio.Event
    """Set when there is something for whoever waits; several may share one."""
    is_streamed: bool
    """Whether every token is news, or only the end."""
    matcher: Matcher | None = None
    """What holds it to a schema."""
    prompt_ids: np.ndarray = field(init=False)
    """The prompt, int32."""
    seed: int = field(init=False)
    """Of its draws, as 64 bits without sign."""
    banned_ids: np.ndarray = field(init=False)
    """Never to be sampled."""
    banned_at_first_ids: np.ndarray = field(init=False)
    """The same and the stop ids: not to be sampled before `min_tokens`."""
    token_ids: list[int] = field(default_factory=list)
    """Sampled so far."""
    logprobs: list[float] = field(default_factory=list)
    """One for each of `token_ids`."""
    top_logprobs: list[TopLogprobs] = field(default_factory=list)
    """The same, where they were asked for."""
    cached_tokens: int = 0
    """Tokens of the prompt whose keys and values were there already."""
    finish_reason: FinishReason | None = None
    """Set once nothing more is to be sampled."""
    error: AnytimeError | None = None
    """Set instead where it failed."""

    def __post_init__(self) -> None:
        sampling = self.request.sampling
        self.prompt_ids = np.asarray(self.request.prompt_ids, np.int32)
        seed = secrets.randbits(64) if sampling.seed is None else sampling.seed
        self.seed = seed % 2**64
        self.banned_ids = np.array(sorted(sampling.banned_ids), np.int64)
        self.banned_at_first_ids = np.array(sorted(sampling.banned_ids | sampling.stop_ids), np.int64)

    @property
    def total_tokens(self) -> int:
        """Of prompt and continuation, at the most."""
        return len(self.request.prompt_ids) + self.request.sampling.max_tokens

    @property
    def position(self) -> int:
        """Of the token that is sampled next, counted from the beginning of the prompt."""
        return len(self.request.prompt_ids) + len(self.token_ids)

    @property
    def banned_now(self) -> np.ndarray:
        """Ids that must not be sampled next."""
        early = len(self.token_ids) < self.request.sampling.min_tokens and self.matcher is None
        return self.banned_at_first_ids if early else self.banned_ids

    @property
    def ended(self) -> bool:
        return self.finish_reason is not None or self.error is not None

    def take(self, token_id: int, logprob: float, top_logprobs: TopLogprobs = ()) -> None:
        """Add what was sampled, unless it has ended meanwhile."""
        if self.ended:
            return
        if self.matcher is not None and not self.matcher.accept(token_id):
            self.end(error=EngineFailed("no token can go on with what the JSON schema asks for"))
            return
        sampling = self.request.sampling
        self.token_ids.append(token_id)
        self.logprobs.append(logprob)
        if sampling.top_logprobs:
            self.top_logprobs.append(top_logprobs)
        if token_id in sampling.stop_ids:
            self.finish_reason = "stop"
        elif len(self.token_ids) == sampling.max_tokens:
            self.finish_reason = "length"
        if self.is_streamed or self.finish_reason is not None:
            self.news.set()

    def end(self, *, error: AnytimeError | None = None) -> None:
        """End it early: in an error, or aborted."""
        if not self.ended:
            self.error = error
            self.finish_reason = None if error else "abort"
            self.news.set()

    def delta(self, since: int) -> Delta:
        """What there is beyond the first `since` tokens."""
        return Delta(
            token_ids=tuple(self.token_ids[since:]),
            logprobs=tuple(self.logprobs[since:]),
            cached_tokens=self.cached_tokens,
            finish_reason=self.finish_reason,
            top_logprobs=tuple(self.top_logprobs[since:]),
        )

    def generation(self) -> Generation:
        """The whole, once it has ended."""
        assert self.finish_reason is not None
        return Generation(
            token_ids=tuple(self.token_ids),
            logprobs=tuple(self.logprobs),
            cached_tokens=self.cached_tokens,
            finish_reason=self.finish_reason,
        )
