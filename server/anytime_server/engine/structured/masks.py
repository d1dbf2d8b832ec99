"""The cost of a grammar's masks, sampled."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from anytime_server.engine.structured.vocabulary import Vocabulary

MASK_LIMIT_S, MEAN_LIMIT_S = 0.02, 0.005
"""Limits of processor time per token: `MASK_LIMIT_S` may be exceeded once, `MEAN_LIMIT_S` holds for the mean.
Every request in the engine's batch waits for this time. Over 260,000 ids, bounded strings take up to 4 ms
where they begin, and 0.2 ms in the mean."""
NUM_WALKS, NUM_STEPS = 4, 64
"""Instances that are sampled, and tokens of each."""
NEXT_PART = (b'"', b",", b":")


def find_mask_fault(grammar: str, vocabulary: Vocabulary) -> str | None:
    """Sample beginnings of instances, and describe the first slow mask or dead end; None if there is none.

    Args:
        grammar: llguidance's.
    """
    from llguidance import LLMatcher
    from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

    rng, costs_s, tokens = np.random.default_rng(0), list[float](), vocabulary.tokens
    bits = allocate_token_bitmask(1, len(tokens))
    next_part_ids = [i for i, token in enumerate(tokens) if token in NEXT_PART]
    for walk in range(NUM_WALKS):
        matcher = LLMatcher(vocabulary.tokenizer, grammar, log_level=0)
        for _ in range(NUM_STEPS):
            started_s = time.thread_time()
            fill_next_token_bitmask(matcher, bits)
            costs_s.append(time.thread_time() - started_s)
            if matcher.is_error():
                return "is too ambiguous: there are too many ways to read an instance"
            allowed = np.unpackbits(bits.view(np.uint8)[0], count=len(tokens), bitorder="little")
            if matcher.is_stopped():
                break
            if allowed.all():  # see `with_calls()`
                return "cannot be enforced: it allows every token at some point"
            if not allowed.any():
                return "cannot be enforced: no token is allowed at some point"
            # Every second walk ends strings early, to come to what follows. Long tokens have most readings.
            ids = [i for i in next_part_ids if allowed[i]] if walk % 2 and rng.random() < 0.5 else []
            drawn = rng.choice(ids or np.flatnonzero(allowed), size=8).tolist()
            if not matcher.consume_token(max(drawn, key=lambda i: len(tokens[i]))):
                return "cannot be enforced: the tokenizer does not spell its text"
    if sum(costs_s) > MEAN_LIMIT_S * len(costs_s) or sum(cost_s > MASK_LIMIT_S for cost_s in costs_s) > 1:
        limits = f"{MEAN_LIMIT_S * 1e3:.0f} ms in the mean or {MASK_LIMIT_S * 1e3:.0f} ms at most"
        return f"is too ambiguous: a token takes more than {limits}"
    return None
