"""The transformers engine on the tiny checkpoint, and requests to any engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from anytime_server.engine import Delta, Engine, EngineRequest, Sampling
from anytime_server.engine.transformers import TransformersEngine, TransformersOptions
from anytime_server.text.model import Model

PROMPT = list(range(40, 110))


@pytest.fixture(scope="session")
async def transformers_engine(
    tiny_checkpoint: Path, pytestconfig: pytest.Config
) -> AsyncGenerator[Engine, None]:
    options = {"device": pytestconfig.getoption("--device"), "dtype": "float32"}
    engine = TransformersEngine(tiny_checkpoint, options=TransformersOptions(**options))
    await engine.start()
    yield engine
    await engine.stop()


@pytest.fixture
def request_of(tiny_model: Model) -> Callable[..., EngineRequest]:
    """Makes requests, by default with the stop ids of thinking."""

    def make(prompt_ids: list[int] = PROMPT, **sampling: Any) -> EngineRequest:
        sampling.setdefault("stop_ids", tiny_model.reasoning.thinking_stop_ids)
        sampling.setdefault("temperature", 1.0)
        sampling.setdefault("seed", 1)
        return EngineRequest(id=uuid4().hex, prompt_ids=prompt_ids, sampling=Sampling(**sampling))

    return make


async def run(engine: Engine, request: EngineRequest) -> list[Delta]:
    return [delta async for delta in engine.generate(request)]


def tokens(deltas: list[Delta]) -> list[int]:
    return [token_id for delta in deltas for token_id in delta.token_ids]
