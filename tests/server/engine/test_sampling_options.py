"""Sampling options on the real engines."""

from __future__ import annotations

from typing import Any

from anytime_server.engine import Engine, EngineRequest
from anytime_server.text.model import Model


async def sampled(engine: Engine, request: EngineRequest) -> list[int]:
    return [token_id async for delta in engine.generate(request) for token_id in delta.token_ids]


async def test_real_engines_apply_the_same_sampling_options(
    transformers_engine: Engine, vllm_engine: Engine, request_of: Any
) -> None:
    """Biased so strongly that the model itself does not matter; 9 is in the prompt, 65 and 66 are not."""
    greedy = {"max_tokens": 4, "temperature": 0.0, "stop_ids": frozenset(), "prompt_ids": [3, 1, 4, 1, 5, 9]}
    two = {"logit_bias": {65: 50.0, 66: 49.5}}
    for options, expected in (
        (two, [65, 65, 65, 65]),
        (two | {"banned_ids": frozenset({65})}, [66, 66, 66, 66]),
        (two | {"presence_penalty": 2.0}, [65, 66, 65, 65]),
        (two | {"frequency_penalty": 2.0}, [65, 66, 65, 66]),
        (two | {"temperature": 2.0, "top_k": 1}, [65, 65, 65, 65]),
        (two | {"temperature": 2.0, "min_p": 1.0}, [65, 65, 65, 65]),
        ({"logit_bias": {9: 60.0, 65: 50.0, 66: 40.0}, "repetition_penalty": 2.0}, [65, 66, 9, 9]),
    ):
        for engine in (transformers_engine, vllm_engine):
            assert await sampled(engine, request_of(**greedy | options)) == expected, options


async def test_vllm_samples_no_bad_words(vllm_engine: Engine, request_of: Any, tiny_model: Model) -> None:
    first_id, second_id = tiny_model.tokenizer.encode("AB")
    options = {"max_tokens": 4, "temperature": 0.0, "logit_bias": {first_id: 50.0, second_id: 40.0}}
    for words, expected in (((), "AAAA"), (("A",), "BBBB"), (("AA",), "ABAB"), (("AA", "BA"), "ABBB")):
        found = await sampled(vllm_engine, request_of(**options, stop_ids=frozenset(), bad_words=words))
        assert tiny_model.tokenizer.decode(found) == expected


async def test_engines_name_the_options_that_they_cannot_honour(
    transformers_engine: Engine, vllm_engine: Engine
) -> None:
    assert transformers_engine.unsupported_sampling == {"bad_words"}
    assert vllm_engine.unsupported_sampling == frozenset()
