"""Resuming a request from the tokens that it has."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

from anytime_server.engine.base import EngineRequest


def seed_after(seed: int | None, num_tokens: int) -> int | None:
    """The seed after `num_tokens` tokens: other random numbers than those of the first tokens."""
    if seed is None or num_tokens == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} {num_tokens}".encode()).digest()[:8], "big") >> 1


def remaining_request(request: EngineRequest, token_ids: Sequence[int]) -> EngineRequest:
    """The request that samples the rest, given fewer than `max_tokens` tokens and no stop id."""
    if not token_ids:
        return request
    sampling, num_tokens = request.sampling, len(token_ids)
    return dataclasses.replace(
        request,
        id=f"{request.id}-after-{num_tokens}",
        prompt_ids=[*request.prompt_ids, *token_ids],
        sampling=dataclasses.replace(
            sampling,
            max_tokens=sampling.max_tokens - num_tokens,
            min_tokens=max(0, sampling.min_tokens - num_tokens),
            seed=seed_after(sampling.seed, num_tokens),
        ),
    )
