"""Engines on transformers, their requests, and the plain model's log-probabilities."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from anytime_server.engine import EngineRequest, Generation, Sampling
from anytime_server.engine.transformers import TransformersEngine, TransformersOptions
from transformers import AutoModelForCausalLM

PROMPT = list(range(40, 75))
numbers = count()

Starter = Callable[..., Awaitable[TransformersEngine]]


@pytest.fixture
async def started(tiny_checkpoint: Path, pytestconfig: pytest.Config) -> AsyncGenerator[Starter, None]:
    """Starts engines, by default in float32, and stops them at the end."""
    defaults = {"device": pytestconfig.getoption("--device"), "dtype": "float32"}
    engines: list[TransformersEngine] = []
    gc.freeze()  # engines collect garbage when they stop: spare them the libraries

    async def start(folder: Path = tiny_checkpoint, **options: Any) -> TransformersEngine:
        engine = TransformersEngine(folder, options=TransformersOptions(**{**defaults, **options}))
        await engine.start()
        engines.append(engine)
        return engine

    yield start
    for engine in engines:
        await engine.stop()


def request_of(
    prompt_ids: list[int] = PROMPT, *, priority: int = 0, max_tokens: int = 8, **sampling: Any
) -> EngineRequest:
    return EngineRequest(
        id=str(next(numbers)),
        prompt_ids=prompt_ids,
        sampling=Sampling(max_tokens=max_tokens, **{"seed": 1, **sampling}),
        priority=priority,
    )


def plain_model(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def plain_logprobs(model: Any, prompt_ids: list[int], token_ids: tuple[int, ...]) -> list[float]:
    """Log-probabilities of one forward pass over prompt and output."""
    ids = torch.tensor([[*prompt_ids, *token_ids]])
    with torch.inference_mode():
        logprobs_TV = model(input_ids=ids).logits[0].log_softmax(-1)
    where = range(len(prompt_ids) - 1, ids.shape[1] - 1)
    return [float(logprobs_TV[i, token_id]) for i, token_id in zip(where, token_ids, strict=True)]


def require_plain(model: Any, requests: list[EngineRequest], generations: list[Generation]) -> None:
    for request, generation in zip(requests, generations, strict=True):
        expected = plain_logprobs(model, request.prompt_ids, generation.token_ids)
        assert generation.logprobs == pytest.approx(expected, abs=1e-5, rel=0)
