"""vLLM with speculative decoding by n-grams: several tokens in one step, and every limit exact."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from anytime_server.engine import Delta, Engine, EngineRequest, Sampling
from anytime_server.engine.constraint import Constraint
from anytime_server.engine.vllm import VllmEngine, VllmOptions
from anytime_server.text.model import Model

pytestmark = pytest.mark.nightly

PROMPT = list(range(40, 60)) * 4
"""Repeats itself, and so does the model's greedy text after it: that is what n-grams predict."""


@pytest.fixture(name="engine", scope="module")
async def fixture_engine(tiny_checkpoint: Path) -> AsyncGenerator[Engine, None]:
    config = {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4}
    options = VllmOptions.model_validate({"speculative_config": config, "max_num_seqs": 8})
    engine = VllmEngine(tiny_checkpoint, options=options)
    await engine.start()
    yield engine
    await engine.stop()


async def deltas(engine: Engine, **sampling: Any) -> list[Delta]:
    request = EngineRequest(
        id=repr(sorted(sampling.items())),
        prompt_ids=PROMPT,
        sampling=Sampling(**{"max_tokens": 120, "temperature": 0.0} | sampling),
    )
    return [delta async for delta in engine.generate(request)]


def tokens(found: list[Delta]) -> list[int]:
    return [token_id for delta in found for token_id in delta.token_ids]


async def test_steps_give_several_tokens_and_never_one_too_many(engine: Engine) -> None:
    whole = await deltas(engine)
    assert max(len(delta.token_ids) for delta in whole) > 1
    for max_tokens in (*range(1, 12), 64, 65, 66, 67):
        found = await deltas(engine, max_tokens=max_tokens)
        assert tokens(found) == tokens(whole)[:max_tokens]
        assert found[-1].finish_reason == "length"
        assert sum(len(delta.logprobs) for delta in found) == max_tokens


async def test_nothing_follows_a_stop_token(engine: Engine) -> None:
    whole = tokens(await deltas(engine))
    for position in (3, 50, 51, 52, 53, 110):
        stop_id = whole[position]
        found = await deltas(engine, stop_ids=frozenset({stop_id}))
        assert tokens(found) == whole[: whole.index(stop_id) + 1]
        assert found[-1].finish_reason == "stop"


async def test_banned_ids_are_not_sampled(engine: Engine) -> None:
    banned = frozenset(tokens(await deltas(engine))[:20])
    found = tokens(await deltas(engine, banned_ids=banned))
    assert len(found) == 120
    assert banned.isdisjoint(found)


async def test_answers_match_a_json_schema(engine: Engine, tiny_model: Model) -> None:
    schema = Constraint("json_schema", json.dumps({"enum": ["one", "two", 3]}))
    constraint = (await engine.enforced(schema)).constraint
    eos_ids = tiny_model.reasoning.eos_ids
    for seed in range(8):
        found = tokens(
            await deltas(engine, constraint=constraint, stop_ids=eos_ids, temperature=1.0, seed=seed)
        )
        text = tiny_model.tokenizer.decode([token_id for token_id in found if token_id not in eos_ids])
        assert json.loads(text) in ("one", "two", 3)
