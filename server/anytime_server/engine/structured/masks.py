"""The cost of a schema's masks, sampled: of the whole, and of parts that a sample may not reach."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from anytime_server.engine.structured.unenforced import schemas_in

if TYPE_CHECKING:
    from xgrammar import CompiledGrammar, GrammarMatcher

MASK_LIMIT_S = 0.005
"""Processor time for one token, for which every request in the engine's batch waits. Over 150,000 ids, an
object of 200 optional properties takes 3 ms, and others much less."""
NUM_WALKS, NUM_STEPS, NUM_CANDIDATES = 4, 64, 3
"""Instances that are sampled, tokens of each, and tokens timed at each step."""
MANY_ALTERNATIVES = 16
"""A part with this number of alternatives is also sampled alone. Fewer take less than a millisecond."""
PROPERTIES, PATTERN_CHARACTERS = 4, 8
"""Properties, and characters of a pattern, that count as one alternative."""
PART = "the part that is sampled"
"""Name of a definition that the client's schema hardly has."""


def with_parts(json_schema: str) -> Iterator[str]:
    """The schema, and then each part of it with many alternatives as a schema of its own.

    Args:
        json_schema: a schema in which `find_fault()` finds none.
    """
    yield json_schema
    schema = json.loads(json_schema)
    schemas = dict(schemas_in("#", schema))
    counts: dict[str, int] = {}
    for pointer, part in schemas.items():
        if pointer != "#" and _num_alternatives(pointer, schemas, counts) >= MANY_ALTERNATIVES:
            definitions = {**schema.get("$defs", {}), PART: part}
            yield json.dumps({**schema, "$defs": definitions, "$ref": f"#/$defs/{PART}"})


def _num_alternatives(pointer: str, schemas: dict[str, Any], counts: dict[str, int]) -> int:
    """Approximate number of ways to read the beginning of an instance."""
    if pointer in counts or not isinstance(schema := schemas.get(pointer), dict):
        return counts.get(pointer, 1)
    counts[pointer] = 1  # for a reference to itself
    branches = [f"{pointer}/{k}/{i}" for k in ("anyOf", "oneOf") for i, _ in enumerate(schema.get(k, ()))]
    branches += [schema["$ref"]] if "$ref" in schema else []
    inner = sum(_num_alternatives(branch, schemas, counts) for branch in branches)
    num_properties, num_characters = len(schema.get("properties", ())), len(schema.get("pattern", ""))
    counts[pointer] = max(1, inner, num_properties // PROPERTIES, num_characters // PATTERN_CHARACTERS)
    return counts[pointer]


def find_mask_fault(grammar: CompiledGrammar, tokens: list[bytes]) -> str | None:
    """Sample beginnings of instances, and describe the first slow mask or dead end; None if there is none."""
    from xgrammar import GrammarMatcher

    rng, bits = random.Random(0), np.zeros((1, len(tokens) // 32 + 1), np.int32)
    next_part_ids = [i for i, token in enumerate(tokens) if token in (b'"', b",", b":")]
    for walk in range(NUM_WALKS):
        matcher = GrammarMatcher(grammar)
        matcher.fill_next_token_bitmask(bits)
        for _ in range(NUM_STEPS):
            allowed = np.unpackbits(bits.view(np.uint8)[0], count=len(tokens), bitorder="little")
            # Every second walk ends strings early, to come to what follows.
            ids = [i for i in next_part_ids if allowed[i]] if walk % 2 and rng.random() < 0.5 else []
            if not ids and not len(ids := np.flatnonzero(allowed)):
                if not matcher.is_completed():
                    return "the JSON schema cannot be enforced: no token is allowed at some point"
                break
            # Long tokens have the most readings. The slowest candidate is followed.
            drawn = [[int(rng.choice(ids)) for _ in range(8)] for _ in range(NUM_CANDIDATES)]
            candidates = {max(some, key=lambda i: len(tokens[i])) for some in drawn}
            costs_s = {token_id: _cost_s(matcher, token_id, bits) for token_id in candidates}
            token_id = max(costs_s, key=lambda i: costs_s[i])
            if costs_s[token_id] > MASK_LIMIT_S:
                return f"the JSON schema is too ambiguous: a token takes over {MASK_LIMIT_S * 1e3:.0f} ms"
            matcher.accept_token(token_id)
            matcher.fill_next_token_bitmask(bits)
    return None


def _cost_s(matcher: GrammarMatcher, token_id: int, bits: np.ndarray) -> float:
    """Processor time for the mask after a token, in seconds; measured again if it was over the limit."""
    cost_s = 0.0
    for _ in range(2):
        started_s = time.thread_time()
        matcher.accept_token(token_id)
        matcher.fill_next_token_bitmask(bits)
        cost_s = time.thread_time() - started_s
        matcher.rollback(1)
        if cost_s <= MASK_LIMIT_S:
            break
    return cost_s
