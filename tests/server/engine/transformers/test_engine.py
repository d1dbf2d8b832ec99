"""The transformers engine: its log-probabilities against the plain model, and its queue."""

from __future__ import annotations

import asyncio
import random
import shutil
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import torch
from anytime_server.engine import Delta, EngineRequest
from anytime_server.engine.transformers import TransformersEngine, TransformersOptions, decoder
from anytime_server.errors import EngineDead, EngineFailed, UnusableModel

from ....checkpoints import with_config
from .conftest import PROMPT, Starter, plain_logprobs, plain_model, request_of, require_plain


async def test_answers_have_the_plain_models_logprobs(started: Starter, tiny_checkpoint: Path) -> None:
    """Thinking, then answers from truncations of it: of all lengths, reusing running and finished slots."""
    engine, model = await started(max_num_seqs=8), plain_model(tiny_checkpoint)
    draw = random.Random(0)
    for _ in range(2):
        thinking = [request_of(PROMPT[: 5 + i % 7], max_tokens=10 + 9 * i, seed=i) for i in range(12)]
        thought = await engine.generate_all(thinking)
        require_plain(model, thinking, thought)
        answers = [
            request_of(
                [*t.prompt_ids, *g.token_ids[:length], 65, 66 + length], max_tokens=draw.randint(1, 5), seed=a
            )
            for t, g in zip(thinking, thought, strict=True)
            for length in (3, 8, 17, 60)
            for a in range(3)
        ]
        draw.shuffle(answers)
        answered = await engine.generate_all(answers)
        require_plain(model, answers, answered)


@pytest.mark.parametrize("kv_cache_mib", [1, 64])
async def test_random_traffic_has_the_plain_models_logprobs(
    started: Starter, tiny_checkpoint: Path, kv_cache_mib: int
) -> None:
    """Also with a KV cache of two thousand tokens, and with aborted requests."""
    engine = await started(max_num_seqs=6, kv_cache_mib=kv_cache_mib)
    model, draw = plain_model(tiny_checkpoint), random.Random(1)
    known = [PROMPT]

    async def one(number: int) -> None:
        await asyncio.sleep(draw.random() * 0.2)
        base = draw.choice(known)
        prompt_ids = base[: draw.randint(1, min(len(base), 350))] + [number] * draw.randint(0, 3)
        request = request_of(prompt_ids, max_tokens=draw.choice([1, 2, 30, 140]), seed=number)
        token_ids: tuple[int, ...] = ()
        logprobs: tuple[float, ...] = ()
        async with aclosing(engine.generate(request)) as deltas:
            async for delta in deltas:
                token_ids += delta.token_ids
                logprobs += delta.logprobs
                if number % 5 == 0 and len(token_ids) > 10:
                    break
        known.append([*prompt_ids, *token_ids])
        expected = plain_logprobs(model, prompt_ids, token_ids)
        assert logprobs == pytest.approx(expected, abs=1e-5, rel=0)

    await asyncio.gather(*(one(number) for number in range(80)))
    assert engine.load().num_requests == 0


async def test_prompts_of_one_prefill_share_common_prefixes(started: Starter, tiny_checkpoint: Path) -> None:
    engine = await started()
    requests = [
        request_of(),
        request_of(),
        request_of([*PROMPT[:30], 9]),
        request_of([7, *PROMPT]),
        request_of([*PROMPT[:30], 9, 8]),
    ]
    generations = await engine.generate_all(requests)
    assert [g.cached_tokens for g in generations] == [0, 34, 30, 0, 31]
    require_plain(plain_model(tiny_checkpoint), requests, generations)


async def test_a_truncation_reuses_all_computed_tokens(started: Starter) -> None:
    engine = await started()
    (thought,) = await engine.generate_all([request_of(max_tokens=20)])
    truncations = [request_of([*PROMPT, *thought.token_ids[:length], 65]) for length in (4, 19, 20)]
    found = [g.cached_tokens for g in await engine.generate_all(truncations)]
    assert found == [len(PROMPT) + 4, len(PROMPT) + 19, len(PROMPT) + 19]  # the last token was not fed back


@pytest.mark.parametrize(("name", "value"), [("MAX_STEP_TOKENS", 16), ("MAX_STEP_SCORES", 700)])
async def test_long_prompts_are_computed_in_parts(
    started: Starter, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: int
) -> None:
    monkeypatch.setattr(decoder, name, value)
    engine = await started()
    requests = [request_of([n, *PROMPT, *PROMPT[:n]], max_tokens=4) for n in range(20)]
    require_plain(plain_model(tiny_checkpoint), requests, await engine.generate_all(requests))


async def test_other_sequences_do_not_change_the_tokens(started: Starter) -> None:
    engine = await started(max_num_seqs=32)
    (alone,) = await engine.generate_all([request_of(max_tokens=60, seed=9)])
    others = [request_of([n, *PROMPT], max_tokens=n + 20, seed=n, top_p=0.8) for n in range(24)]
    *_, together = await engine.generate_all([*others, request_of(max_tokens=60, seed=9)])
    assert together.token_ids == alone.token_ids


async def test_many_requests_on_few_slots(started: Starter) -> None:
    engine = await started(max_num_seqs=8)
    generations = await engine.generate_all(
        [request_of([n % 50], max_tokens=1 + n % 9, seed=n) for n in range(300)]
    )
    assert [len(g.token_ids) for g in generations] == [1 + n % 9 for n in range(300)]


async def test_higher_priorities_run_first(started: Starter) -> None:
    engine = await started(max_num_seqs=1)  # two run: there is one spare slot
    ended: list[str] = []

    async def run(name: str, request: EngineRequest) -> None:
        await engine.generate_all([request])
        ended.append(name)

    busy = [asyncio.create_task(run("busy", request_of(max_tokens=30))) for _ in range(2)]
    await asyncio.sleep(0)
    later = [
        asyncio.create_task(run(name, request_of(max_tokens=5, priority=priority)))
        for name, priority in [("late", 2), ("later", 2), ("soon", 1), ("at once", -1)]
    ]
    await asyncio.gather(*busy, *later)
    assert ended == ["busy", "busy", "at once", "soon", "late", "later"]


async def test_a_stop_id_before_min_tokens_is_not_sampled(started: Starter) -> None:
    engine = await started()
    (free,) = await engine.generate_all([request_of(temperature=0.0)])
    stop_ids = frozenset(free.token_ids)
    stopped, later = await engine.generate_all(
        [
            request_of(temperature=0.0, stop_ids=stop_ids),
            request_of(temperature=0.0, stop_ids=stop_ids, min_tokens=5),
        ]
    )
    assert (len(stopped.token_ids), stopped.finish_reason) == (1, "stop")
    assert not stop_ids & set(later.token_ids[:5])


async def test_no_seed_is_another_draw_each_time(started: Starter) -> None:
    engine = await started()
    first, second = await engine.generate_all(
        [request_of(seed=None, max_tokens=30), request_of(seed=None, max_tokens=30)]
    )
    assert first.token_ids != second.token_ids


async def test_a_failed_step_fails_running_requests_only(
    started: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await started()
    (before,) = await engine.generate_all([request_of()])
    with monkeypatch.context() as patch:

        def fail(*_: Any) -> None:
            raise torch.OutOfMemoryError("no memory")

        patch.setattr(decoder, "sample", fail)
        with pytest.raises(EngineFailed):
            await engine.generate_all([request_of(), request_of()])
    (after,) = await engine.generate_all([request_of()])
    assert engine.alive
    assert (after.token_ids, after.cached_tokens) == (before.token_ids, 0)


async def test_an_unknown_token_is_refused(started: Starter) -> None:
    engine = await started()
    for request in (request_of([1, 9999]), request_of([-1]), request_of(banned_ids=frozenset({9999}))):
        with pytest.raises(EngineFailed, match="token ids below"):
            await engine.generate_all([request])
    assert engine.load().num_requests == 0


async def test_stop_ends_waiting_requests(started: Starter) -> None:
    engine = await started(max_num_seqs=1)

    async def run() -> list[Delta]:
        return [delta async for delta in engine.generate(request_of(max_tokens=450))]

    running = [asyncio.create_task(run()) for _ in range(5)]
    await asyncio.sleep(0.05)
    await engine.stop()
    results = await asyncio.gather(*running, return_exceptions=True)
    assert [type(result) for result in results] == [EngineDead] * 5
    assert not engine.alive


async def test_cancelling_a_batch_aborts_it(started: Starter) -> None:
    engine = await started()
    requests = [request_of(max_tokens=450) for _ in range(5)]
    running = asyncio.create_task(engine.generate_all(requests))
    await asyncio.sleep(0.05)
    assert engine.load().num_requests == 5
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert engine.load().num_requests == 0


@pytest.mark.parametrize(
    ("change", "options", "reason"),
    [
        ({"layer_types": ["full_attention", "sliding_attention"]}, {}, "not sliding_attention"),
        ({"model_type": "nonesuch"}, {}, "nonesuch"),
        ({}, {"window_tokens": 513}, "the model has 512"),
        ({}, {"device": "cuda"}, "no GPU"),
        ({"num_hidden_layers": 3, "layer_types": ["full_attention"] * 3}, {}, "lacks model.layers.2"),
    ],
)
async def test_unsupported_models_and_options_are_refused(
    tiny_checkpoint: Path, tmp_path: Path, change: dict[str, Any], options: dict[str, Any], reason: str
) -> None:
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    folder = with_config(tiny_checkpoint, tmp_path / "model", **change)
    engine = TransformersEngine(folder, options=TransformersOptions(**{"device": "cpu", **options}))
    with pytest.raises(UnusableModel, match=reason):
        await engine.start()
    assert not engine.alive
    await engine.stop()


async def test_a_broken_file_is_refused_in_one_line(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "model")
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    engine = TransformersEngine(folder)
    with pytest.raises(UnusableModel, match=r"model\.safetensors") as caught:
        await engine.start()
    assert "\n" not in str(caught.value)
    await engine.stop()


async def test_the_window_is_the_option_or_the_models(started: Starter) -> None:
    assert (await started(window_tokens=64)).window_tokens == 64
    assert (await started()).window_tokens == 512


async def test_half_precision(started: Starter) -> None:
    engine = await started(dtype="bfloat16")
    (generation,) = await engine.generate_all([request_of(max_tokens=30)])
    assert len(generation.token_ids) == 30
