"""The interface of an engine. It knows token ids and requests, and nothing of thinking or text."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from anytime_server.engine.constraint import Constraint, Enforced
from anytime_server.errors import NotSupported

FinishReason = Literal["stop", "length", "abort"]
MAX_TOP_LOGPROBS = 20
LEAST_LOGPROB = -9999.0
"""Log-probability reported for a token that cannot be sampled."""
TopLogprobs = tuple[tuple[int, float], ...]
"""Token ids and log-probabilities of the likeliest tokens at one position, likeliest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Sampling parameters of a request."""

    max_tokens: int
    """Maximum number of tokens to sample, at least 1; exact."""
    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    """Nucleus sampling; 1 keeps every token."""
    top_k: int = 0
    """Number of likeliest tokens to keep; 0 keeps every token."""
    min_p: float = 0.0
    """Least probability of a token, relative to the likeliest; 0 keeps every token."""
    presence_penalty: float = 0.0
    """Subtracted from the logit of each token that this request has sampled."""
    frequency_penalty: float = 0.0
    """Subtracted from the logit of a token each time that this request has sampled it."""
    repetition_penalty: float = 1.0
    """Divides a positive logit, and multiplies a negative one, of the tokens of prompt and output."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of these token ids."""
    bad_words: tuple[str, ...] = ()
    """Texts whose last token is not sampled after the tokens before it."""
    seed: int | None = None
    """Makes the sampling reproducible; None for a seed of the engine's choice."""
    stop_ids: frozenset[int] = frozenset()
    """Token ids that end the request when sampled; they are delivered."""
    min_tokens: int = 0
    """Number of tokens before which no stop id is sampled."""
    banned_ids: frozenset[int] = frozenset()
    """Token ids made too unlikely to be sampled."""
    logprobs: bool = True
    """Whether log-probabilities are needed; an engine may report them anyway."""
    top_logprobs: int = 0
    """Number of likeliest tokens to report at each position, up to `MAX_TOP_LOGPROBS`."""
    constraint: Constraint | None = None
    """Constraint of the text that the tokens spell, which a stop id or the tokenizer's end-of-turn token
    follows: one that `enforced()` returned. `min_tokens` then has no effect, and log-probabilities are
    relative to the allowed tokens. None for no constraint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """A request to sample one sequence after a prompt."""

    id: str
    """Unique among the running requests."""
    prompt_ids: list[int]
    """At least one token; together with `sampling.max_tokens` within the window."""
    sampling: Sampling
    priority: int = 0
    """Lower runs first if not all fit."""
    cache_salt: str = ""
    """The prefix cache is shared only among requests of the same salt."""
    adapter: str | None = None
    """Name of the LoRA adapter to sample with; None for the model itself. Has a prefix cache of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """The tokens sampled since the previous delta."""

    token_ids: tuple[int, ...]
    """Includes a stop token. May be empty in the last delta."""
    logprobs: tuple[float, ...]
    """Log-probability of each token under the model, before temperature; empty if not requested."""
    cached_tokens: int
    """Prompt tokens found in the prefix cache."""
    finish_reason: FinishReason | None
    """Set in the last delta only."""
    top_logprobs: tuple[TopLogprobs, ...] = ()
    """One for each token; empty if not requested."""

    def single_tokens(self) -> Iterator[Delta]:
        """The same as deltas of one token each."""
        last = len(self.token_ids) - 1
        for position, token_id in enumerate(self.token_ids):
            yield Delta(
                token_ids=(token_id,),
                logprobs=self.logprobs[position : position + 1],
                cached_tokens=self.cached_tokens,
                finish_reason=self.finish_reason if position == last else None,
                top_logprobs=self.top_logprobs[position : position + 1],
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A whole sampled sequence."""

    token_ids: tuple[int, ...]
    """Includes a stop token."""
    logprobs: tuple[float, ...]
    """Log-probability of each token under the model, before temperature."""
    cached_tokens: int
    """Prompt tokens found in the prefix cache."""
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoad:
    """The engine's load and capacity."""

    num_requests: int
    """Running and queued requests."""
    max_num_seqs: int
    """Sequences that may think at the same time."""

    @property
    def num_spare_seqs(self) -> int:
        """Sequences that may run beyond `max_num_seqs`, so that answers need not wait for thinking to end."""
        return max(1, self.max_num_seqs // 4)


class Engine(ABC):
    """Samples sequences after prompts, many at a time.

    Lifetime: `start()`, any number of `generate()`, `stop()`. Not reusable after `stop()`.
    """

    @property
    @abstractmethod
    def window_tokens(self) -> int:
        """Maximum number of tokens of prompt and output together; 0 before the start."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether the engine accepts requests: started, and neither stopped nor dead."""

    @property
    def is_stuck(self) -> bool:
        """Whether it has been dead for so long that only a restart of this process may help."""
        return False

    @property
    def num_restarts(self) -> int:
        """Times that the engine died and was restarted; 0 without a supervisor."""
        return 0

    @property
    def up_since(self) -> float:
        """`time.monotonic()` of the end of the last restart; minus infinity before one."""
        return -math.inf

    @property
    def kv_cache_use(self) -> float | None:
        """Share of the KV cache in use by running requests, 0 to 1; None if unknown."""
        return None

    @property
    def unsupported_sampling(self) -> frozenset[str]:
        """Names of the fields of `Sampling` that it cannot honour; requests leave them at their defaults."""
        return frozenset()

    async def enforced(self, constraint: Constraint) -> Enforced:
        """The part of a constraint that the engine can hold tokens to.

        Call it after the start: a constraint that is new to the engine is compiled, which takes some time,
        and some seconds more without `prepare_constraints()`.

        Raises:
            InvalidRequest: the constraint is malformed, matches nothing, or costs too much; the caller sets
                `field`.
            NotSupported: this engine, or this model's vocabulary, supports no constraints.
        """
        raise NotSupported("this engine cannot constrain an answer")

    async def violation(self, json_schema: str, text: str) -> str | None:
        """The JSON pointer of a keyword of a JSON schema that a text violates; None if it violates none.

        Raises:
            NotSupported: the text cannot be checked.
            EngineDead, EngineFailed: as `generate()`.
        """
        raise NotSupported("this engine cannot check an answer")

    async def prepare_constraints(self) -> None:
        """Do what would hold up every request at the first constraint, and begin what that would wait for.
        Call it after the start.

        It takes memory, and nothing happens on an engine that supports no constraints.

        Raises:
            EngineDead, EngineFailed: as `generate()`.
        """
        return

    @property
    def schema_compilations(self) -> tuple[int, float]:
        """Number of constraints compiled since the start, refused ones included, and the seconds it took."""
        return 0, 0.0

    @abstractmethod
    async def start(self) -> None:
        """Load the model.

        Raises:
            UnusableModel: the model cannot be loaded.
        """

    @abstractmethod
    async def stop(self) -> None:
        """End every request and free all memory. May be called more than once."""

    @abstractmethod
    def generate(self, request: EngineRequest) -> AsyncGenerator[Delta, None]:
        """Sample one sequence.

        Closing the generator, or cancelling the task that waits on it, aborts the request; tokens that it has
        not delivered are dropped.

        Raises:
            EngineDead: the engine is not alive, or died meanwhile.
            EngineFailed: the engine failed on this request.
        """

    @abstractmethod
    def load(self) -> EngineLoad:
        """The present load."""

    async def generate_all(self, requests: Sequence[EngineRequest]) -> list[Generation]:
        """Sample one sequence for each request; all enter the engine at once.

        On an engine without other requests, whose prefix cache is empty or was filled in the same way, the
        same requests give the same tokens and log-probabilities, bit for bit. The first failure ends all
        requests.

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
        """Replace the model's weights, and drop everything computed with the old ones.

        No request may be running.

        Args:
            weights: safetensors file that the engine's machine can read, with every tensor of the checkpoint
                by name and in its shape; the dtype may differ.
            sha256: SHA-256 of the file, in hexadecimal, which the engine verifies.
            timeout_s: maximum duration in seconds.

        Raises:
            WeightSyncFailed: the file does not match, or the update took too long. The engine may then have
                some of the new weights and must not be used further.
            EngineDead: the engine is not alive, or died meanwhile.
        """
