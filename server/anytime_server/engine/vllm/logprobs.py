"""vLLM's log-probabilities as ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from anytime_server.engine.base import LEAST_LOGPROB, EngineRequest, TopLogprobs

if TYPE_CHECKING:
    from vllm.logprobs import Logprob


def likeliest(entries: Sequence[dict[int, Logprob] | None], num: int) -> tuple[TopLogprobs, ...]:
    """The `num` likeliest tokens at each position; `entries` also have the sampled token."""
    ranked = [sorted((entry or {}).items(), key=lambda one: -one[1].logprob)[:num] for entry in entries]
    return tuple(
        tuple((token_id, max(one.logprob, LEAST_LOGPROB)) for token_id, one in tokens) for tokens in ranked
    )


def prompt_logprobs(
    request: EngineRequest, entries: Sequence[dict[int, Logprob] | None]
) -> tuple[tuple[float, TopLogprobs], ...]:
    """The prompt's, as `Delta` has them; vLLM's `entries` have None for the first token."""
    if not request.sampling.prompt_logprobs or not entries:
        return ()
    tops = likeliest(entries, request.sampling.top_logprobs)
    return tuple(
        (max(entry[token_id].logprob, LEAST_LOGPROB), top)
        for token_id, entry, top in zip(request.prompt_ids, entries, tops, strict=True)
        if entry
    )
