"""The transformers engine: its log-probabilities against the plain model, its queue and its weights."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import os
import random
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from anytime_server.engine import Delta, EngineRequest, Generation, Sampling
from anytime_server.engine.transformers import TransformersEngine, TransformersOptions, decoder
from anytime_server.errors import EngineDead, EngineFailed, UnusableModel, WeightSyncFailed
from safetensors.torch import load_file, save_file
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


def new_weights(folder: Path, target: Path, *, seed: int = 5) -> str:
    """Write a file of other random weights. Returns its checksum."""
    torch.manual_seed(seed)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: torch.randn_like(t.float()) * 0.2 for name, t in tensors.items()}, target)
    return checksum(target)


def checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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


async def test_updates_give_identical_results_bit_for_bit(
    started: Starter, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    engine, path = await started(max_num_seqs=4), tmp_path / "new.safetensors"
    digest = new_weights(tiny_checkpoint, path)
    runs: list[list[tuple[Any, ...]]] = []
    for _ in range(3):
        await engine.update_weights(path, sha256=digest, timeout_s=30)
        requests = [request_of([n % 5, *PROMPT], max_tokens=5 + n % 17, seed=n) for n in range(40)]
        generations = await engine.generate_all(requests)
        runs.append([(g.token_ids, g.logprobs, g.cached_tokens) for g in generations])
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize("head", ["own", "tied", "tied, stored"])
async def test_updated_weights_replace_the_old_ones(
    started: Starter, tiny_checkpoint: Path, tmp_path: Path, head: str
) -> None:
    """Everywhere: embedding, head and cache."""
    frequencies = "model.layers.0.self_attn.rotary_emb.inv_freq"  # in some checkpoints
    before, after, path = tmp_path / "before", tmp_path / "after", tmp_path / "new.safetensors"
    shutil.copytree(tiny_checkpoint, before)
    if head != "own":
        config = json.loads((before / "config.json").read_text())
        (before / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
        tensors = load_file(before / "model.safetensors")
        del tensors["lm_head.weight"]
        if head == "tied, stored":
            tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
            tensors[frequencies] = torch.ones(16)
        save_file(tensors, before / "model.safetensors", metadata={"format": "pt"})
    engine = await started(before)
    requests = [request_of([n, *PROMPT], max_tokens=20, temperature=0.0) for n in range(3)]
    old = await engine.generate_all(requests)
    digest = new_weights(before, path)
    if head == "tied, stored":
        tensors = load_file(path)
        del tensors["lm_head.weight"]
        save_file(tensors, path)
        digest = checksum(path)
    shutil.copytree(before, after)
    save_file(load_file(path), after / "model.safetensors", metadata={"format": "pt"})

    await engine.update_weights(path, sha256=digest, timeout_s=30)
    updated = await engine.generate_all(requests)
    fresh = await (await started(after)).generate_all(requests)
    assert [g.token_ids for g in updated] == [g.token_ids for g in fresh] != [g.token_ids for g in old]
    assert [g.cached_tokens for g in updated] == [g.cached_tokens for g in fresh]
    require_plain(plain_model(after), requests, updated)


@pytest.mark.parametrize("fault", ["checksum", "missing", "surplus", "shape", "no file", "no weights"])
async def test_mismatched_weights_are_refused_and_change_nothing(
    started: Starter, tiny_checkpoint: Path, tmp_path: Path, fault: str
) -> None:
    engine, path = await started(), tmp_path / "new.safetensors"
    (before,) = await engine.generate_all([request_of()])
    new_weights(tiny_checkpoint, path)
    tensors = load_file(path)
    if fault == "missing":
        del tensors["model.norm.weight"]
    elif fault == "surplus":
        tensors["model.norm.bias"] = torch.zeros(64)
    elif fault == "shape":
        tensors["model.norm.weight"] = torch.zeros(1)
    save_file(tensors, path)
    if fault == "no weights":
        path.write_bytes(b"no weights")
    digest = "0" * 64 if fault == "checksum" else checksum(path)
    if fault == "no file":
        path.unlink()
    with pytest.raises(WeightSyncFailed):
        await engine.update_weights(path, sha256=digest, timeout_s=30)
    (after,) = await engine.generate_all([request_of()])
    assert after.token_ids == before.token_ids
    assert after.logprobs == pytest.approx(before.logprobs, abs=1e-5)


async def test_an_update_that_takes_too_long_fails(started: Starter, tmp_path: Path) -> None:
    engine, path = await started(), tmp_path / "new.safetensors"
    os.mkfifo(path)  # a read blocks until there is a writer
    with pytest.raises(WeightSyncFailed, match=r"within 0\.1 s"):
        await engine.update_weights(path, sha256="0" * 64, timeout_s=0.1)
    path.write_bytes(b"at last")
    assert not engine.alive
    with pytest.raises(EngineDead):
        await engine.generate_all([request_of()])


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
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
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
