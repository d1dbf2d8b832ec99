"""Samples: their distribution, and their dependence on seed and position alone."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest
import torch
from anytime_server.engine.base import EngineRequest, Sampling
from anytime_server.engine.transformers.logits import adjusted
from anytime_server.engine.transformers.sampler import sample, uniforms
from anytime_server.engine.transformers.sequence import SequenceState

WEIGHTS_V = [0.5, 0.3, 0.15, 0.05]
NUM_SAMPLES = 5_000
LOGITS_V = torch.tensor(WEIGHTS_V).log() + 3.0


def row(*, seed: int = 0, sampled: int = 0, **sampling: Any) -> SequenceState:
    request = EngineRequest(id="row", prompt_ids=[1], sampling=Sampling(max_tokens=9, seed=seed, **sampling))
    one = SequenceState(request=request, news=asyncio.Event(), is_streamed=False)
    one.token_ids += [0] * sampled
    return one


def shares(**sampling: Any) -> list[float]:
    """Share of each token in `NUM_SAMPLES` samples."""
    rows = [row(seed=seed, **sampling) for seed in range(NUM_SAMPLES)]
    token_ids = sample(LOGITS_V.expand(len(rows), -1), rows).token_ids
    return (np.bincount(token_ids, minlength=4) / len(rows)).tolist()


def test_uniforms_are_uniform_over_seeds_and_over_positions() -> None:
    for numbers in (uniforms(range(10_000), [7] * 10_000), uniforms([7] * 10_000, range(10_000))):
        assert 0 <= numbers.min() <= numbers.max() < 1
        counts = np.histogram(numbers, 10, (0, 1))[0]
        assert np.abs(counts - 1000).max() < 4 * math.sqrt(900)
        assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.04


def test_64_bit_seeds_do_not_collide() -> None:
    assert len(set(uniforms([0, 1, 2**63, 2**64 - 1, 2**32], [5] * 5))) == 5


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ({}, WEIGHTS_V),
        ({"temperature": 0.5}, [w * w / 0.365 for w in WEIGHTS_V]),
        ({"top_p": 0.6}, [0.625, 0.375, 0, 0]),
        ({"top_p": 0.5}, [1, 0, 0, 0]),
        ({"top_p": 1e-6}, [1, 0, 0, 0]),
        ({"temperature": 0.0}, [1, 0, 0, 0]),
        ({"temperature": 0.0, "banned_ids": frozenset({0})}, [0, 1, 0, 0]),
        ({"banned_ids": frozenset({0})}, [0, 0.6, 0.3, 0.1]),
        ({"stop_ids": frozenset({0, 3}), "min_tokens": 1}, [0, 2 / 3, 1 / 3, 0]),
        ({"top_k": 2}, [0.625, 0.375, 0, 0]),
        ({"top_k": 99}, WEIGHTS_V),
        ({"min_p": 0.29}, [0.5, 0.3, 0.15, 0]),
        ({"min_p": 0.31}, [0.5, 0.3, 0, 0]),
        ({"min_p": 0.5, "temperature": 2.0}, [w**0.5 for w in WEIGHTS_V[:3]] + [0]),
        ({"top_k": 2, "top_p": 0.63}, [0.625, 0.375, 0, 0]),
        ({"top_k": 2, "top_p": 0.62}, [1, 0, 0, 0]),  # of the two that are left
        ({"logit_bias": {3: math.log(10), 0: -100.0}}, [0, 0.3, 0.15, 0.5]),
        ({"logit_bias": {0: 50.0}, "banned_ids": frozenset({0})}, [0, 0.6, 0.3, 0.1]),
    ],
)
def test_distribution(sampling: dict[str, Any], expected: list[float]) -> None:
    whole = sum(expected)
    for found, wanted in zip(shares(**sampling), [one / whole for one in expected], strict=True):
        assert abs(found - wanted) <= 4 * math.sqrt(wanted * (1 - wanted) / NUM_SAMPLES)


def scores(prompt_ids: list[int], sampled: list[int], **sampling: Any) -> list[float]:
    """Adjusted logits of 2, 1, 0, -1 after a prompt and an output."""
    request = EngineRequest(id="row", prompt_ids=prompt_ids, sampling=Sampling(max_tokens=9, **sampling))
    one = SequenceState(request=request, news=asyncio.Event(), is_streamed=False)
    for token_id in sampled:
        one.take(token_id, 0.0)
    return adjusted(torch.tensor([[2.0, 1.0, 0.0, -1.0]]), [one])[0].tolist()


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ({}, [2, 1, 0, -1]),
        ({"presence_penalty": 0.5}, [1.5, 1, 0, -1.5]),
        ({"frequency_penalty": 0.5}, [1.5, 1, 0, -2]),
        ({"presence_penalty": 0.5, "frequency_penalty": -0.25}, [1.75, 1, 0, -1]),
        ({"repetition_penalty": 2.0}, [1, 0.5, 0, -2]),
        ({"repetition_penalty": 0.5, "presence_penalty": 1.0}, [3, 2, 0, -1.5]),
        ({"logit_bias": {1: -3.0}, "repetition_penalty": 2.0}, [1, -4, 0, -2]),
    ],
)
def test_penalties_by_hand(sampling: dict[str, Any], expected: list[float]) -> None:
    """The prompt has token 1, the output 3, 0 and 3; only repetition is penalized in the prompt, too."""
    assert scores([1, 1], [3, 0, 3], **sampling) == expected


def test_other_rows_do_not_change_a_sample() -> None:
    rows = [row(seed=4), row(seed=5, top_p=0.4), row(seed=6, temperature=0.0), row(seed=7, sampled=3)]
    rows += [row(seed=8, top_k=2), row(seed=9, top_k=3, min_p=0.2), row(seed=10, logit_bias={3: 5.0})]
    rows += [row(seed=11, repetition_penalty=1.5)]
    together = sample(LOGITS_V.expand(len(rows), -1), rows)
    alone = [sample(LOGITS_V[None], [one]) for one in rows]
    assert together == tuple([values[0] for values in column] for column in zip(*alone, strict=True))


def test_the_position_changes_a_sample() -> None:
    rows = [row(seed=4, sampled=n) for n in range(60)]
    assert len(set(sample(LOGITS_V.expand(60, -1), rows).token_ids)) > 1


def test_logprobs_are_before_temperature_and_bans() -> None:
    one = row(temperature=0.3, top_p=0.1, banned_ids=frozenset({0}))
    token_ids, logprobs, _ = sample(LOGITS_V[None], [one])
    assert token_ids == [1]
    assert logprobs == pytest.approx([math.log(0.3)], abs=1e-6)


def test_stop_ids_are_sampled_after_min_tokens() -> None:
    one = row(temperature=0.0, stop_ids=frozenset({0}), min_tokens=2, sampled=2)
    assert sample(LOGITS_V[None], [one]).token_ids == [0]


def test_a_row_with_all_tokens_banned_still_samples() -> None:
    token_ids, logprobs, _ = sample(LOGITS_V[None], [row(banned_ids=frozenset(range(4)))])
    assert 0 <= token_ids[0] < 4
    assert math.isfinite(logprobs[0])
