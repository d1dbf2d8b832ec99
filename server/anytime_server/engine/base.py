"""The interface of an engine. It knows tokens and requests, nothing of thinking or of text."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anytime_server.errors import NotSupported

FinishReason = Literal["stop", "length", "abort"]
MAX_TOP_LOGPROBS = 20
LEAST_LOGPROB = -9999.0
"""Stands for that of a token that cannot be sampled."""
TopLogprobs = tuple[tuple[int, float], ...]
"""The likeliest tokens at one position with their log-probabilities, likeliest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next tokens are drawn."""

    max_tokens: int
    """The most tokens to sample, at least 1; exact."""
    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    """Nucleus; 1 keeps every token."""
    seed: int | None = None
    """Makes the draw repeatable; None leaves it to the engine."""
    stop_ids: frozenset[int] = frozenset()
    """Sampling any of these ends the request; the token itself is delivered."""
    min_tokens: int = 0
    """Tokens before which no stop id is sampled."""
    banned_ids: frozenset[int] = frozenset()
    """Made too unlikely to be sampled."""
    logprobs: bool = True
    """Whether log-probabilities are wanted; an engine may give them all the same."""
    top_logprobs: int = 0
    """How many of the likeliest tokens to report at each position, up to `MAX_TOP_LOGPROBS`."""
    json_schema: str | None = None
    """JSON Schema, as JSON text, that the tokens sampled must spell an instance of; a stop id follows it.
    To be passed to `check_json_schema()` first. `min_tokens` has no effect then, and log-probabilities are
    those among the tokens that may come next. None leaves the tokens free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """One continuation of one prompt."""

    id: str
    """Unique among the requests under way."""
    prompt_ids: list[int]
    """At least one token; with `sampling.max_tokens` within the window."""
    sampling: Sampling
    priority: int = 0
    """Lower is served first where there is not room for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """Tokens sampled since the last delta."""

    token_ids: tuple[int, ...]
    """A stop token included. May be empty in the last delta."""
    logprobs: tuple[float, ...]
    """Log-probability of each of `token_ids` under the model, before temperature; empty where not wanted."""
    cached_tokens: int
    """Tokens of the prompt that were found in the prefix cache."""
    finish_reason: FinishReason | None
    """Set in the last delta, and only there."""
    top_logprobs: tuple[TopLogprobs, ...] = ()
    """One for each of `token_ids`; empty where none were asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A whole continuation."""

    token_ids: tuple[int, ...]
    """A stop token included."""
    logprobs: tuple[float, ...]
    """Log-probability of each of `token_ids` under the model, before temperature."""
    cached_tokens: int
    """Tokens of the prompt that were found in the prefix cache."""
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoad:
    """How busy the engine is."""

    num_requests: int
    """Requests under way or queued."""
    max_num_seqs: int
    """Requests that may think at the same time."""

    @property
    def num_spare_seqs(self) -> int:
        """Requests that there is room for beyond them, so that answers need not wait for thinking to end."""
        return max(1, self.max_num_seqs // 4)


class Engine(ABC):
    """Samples continuations of prompts, many at a time.

    Life: `start()`, any number of `generate()`, `stop()`. Not reusable after `stop()`.
    """

    @property
    @abstractmethod
    def window_tokens(self) -> int:
        """The most tokens of prompt and continuation together; known once started."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether it takes requests: started, not stopped, not dead."""

    @property
    def num_restarts(self) -> int:
        """Times that it died and was built anew; an engine by itself does not come back."""
        return 0

    @property
    def kv_cache_use(self) -> float | None:
        """Share of the KV cache that requests under way have, 0 to 1; None where it is not known."""
        return None

    def check_json_schema(self, json_schema: str) -> None:
        """Pass if it can hold tokens to this schema; to be called once started, best in a thread: a schema
        that is new to the engine is compiled, which can take seconds.

        Raises:
            InvalidRequest: it is no schema, or has something that cannot be enforced; `field` is left to
                the caller.
            NotSupported: this engine, or this model's vocabulary, can be held to none.
        """
        raise NotSupported("this engine cannot hold an answer to a JSON schema")

    @abstractmethod
    async def start(self) -> None:
        """Load the model and get ready.

        Raises:
            UnusableModel: it cannot be loaded.
        """

    @abstractmethod
    async def stop(self) -> None:
        """End every request and free everything. May be called more than once."""

    @abstractmethod
    def generate(self, request: EngineRequest) -> AsyncGenerator[Delta, None]:
        """Sample a continuation.

        Closing the generator, or cancelling the task that waits on it, aborts the request;
        tokens not delivered by then are dropped.

        Raises:
            EngineDead: the engine is not alive, or died meanwhile.
            EngineFailed: it cannot go on with this request.
        """

    @abstractmethod
    async def abort(self, request_id: str) -> None:
        """End a request early: its generator delivers what was sampled, then finishes with
        `abort`. Unknown or finished ids are ignored."""

    @abstractmethod
    def load(self) -> EngineLoad:
        """How busy it is now."""

    async def generate_all(self, requests: Sequence[EngineRequest]) -> list[Generation]:
        """Sample a continuation of each, all of them entering the engine at once.

        On an engine with nothing else to do, whose prefix cache is empty or was filled in the same
        way, the same requests give the same tokens and log-probabilities, bit for bit. The first
        failure ends them all.

        Raises:
            EngineDead, EngineFailed: as `generate()`.
        """
        tasks = [asyncio.ensure_future(self._whole(request)) for request in requests]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _whole(self, request: EngineRequest) -> Generation:
        async with aclosing(self.generate(request)) as generator:
            deltas = [delta async for delta in generator]
        assert deltas[-1].finish_reason is not None
        return Generation(
            token_ids=tuple(token_id for delta in deltas for token_id in delta.token_ids),
            logprobs=tuple(logprob for delta in deltas for logprob in delta.logprobs),
            cached_tokens=deltas[-1].cached_tokens,
            finish_reason=deltas[-1].finish_reason,
        )

    @abstractmethod
    async def update_weights(self, weights: Path, *, sha256: str, timeout_s: float) -> None:
        """Put other weights in place of the model's, and forget what was computed with the old ones.

        To be called while no request is under way.

        Args:
            weights: safetensors file that the engine's machine can read, with every tensor of the
                checkpoint under its own name and in its own shape; the type may differ.
            sha256: of the file, in hexadecimal; the engine reads the file and compares.
            timeout_s: seconds that it may take.

        Raises:
            WeightSyncFailed: the file is not what it should be, or it took too long. The
                engine may then hold some of the new weights and must not be used further.
            EngineDead: the engine is not alive, or died meanwhile.
        """
