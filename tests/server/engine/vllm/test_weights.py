"""Weight updates of a running vLLM: it samples from the new weights, or refuses them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from anytime_server.engine import Engine, EngineRequest, Generation, Sampling
from anytime_server.engine.vllm import VllmEngine, VllmOptions
from anytime_server.errors import EngineDead, WeightSyncFailed
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

PROMPT = list(range(40, 110))
HEAD = "lm_head.weight"


@pytest.fixture(
    name="checkpoint",
    scope="module",
    params=[
        "own head",
        pytest.param("tied head", marks=pytest.mark.nightly),
        pytest.param("tied head, stored", marks=pytest.mark.nightly),
    ],
)
def fixture_checkpoint(
    request: pytest.FixtureRequest, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    config = Qwen3Config.from_pretrained(tiny_checkpoint)
    config.tie_word_embeddings = request.param != "own head"
    torch.manual_seed(5)
    Qwen3ForCausalLM(config).save_pretrained(folder)
    if request.param in ("tied head, stored", "tied in name"):
        path = folder / "model.safetensors"
        weights = load_file(path)
        weights[HEAD] = weights["model.embed_tokens.weight"] + (request.param == "tied in name")
        weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(16)
        save_file(weights, path, metadata={"format": "pt"})
    return folder


@pytest.fixture(name="engine", scope="module")
async def fixture_engine(checkpoint: Path) -> AsyncGenerator[Engine, None]:
    """One for all tests of a checkpoint, in their order: the first finds its weights, the last stops it."""
    engine = VllmEngine(checkpoint, options=VllmOptions(dtype="float32", max_num_seqs=8))
    await engine.start()
    yield engine
    await engine.stop()


@pytest.fixture(name="other")
def fixture_other(checkpoint: Path, tmp_path: Path) -> Path:
    """A file of other weights for the same model, without tied tensors, as the trainer sends them."""
    weights = load_file(checkpoint / "model.safetensors")
    if Qwen3Config.from_pretrained(checkpoint).tie_word_embeddings:
        weights.pop(HEAD, None)
    generator = torch.Generator().manual_seed(6)
    changed = {
        name: weight + 0.05 * torch.randn(weight.shape, generator=generator)
        for name, weight in weights.items()
    }
    save_file(changed, tmp_path / "other.safetensors")
    return tmp_path / "other.safetensors"


def checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def requests(count: int = 6, **sampling: Any) -> list[EngineRequest]:
    return [
        EngineRequest(
            id=f"{number}", prompt_ids=PROMPT, sampling=Sampling(max_tokens=20, seed=number, **sampling)
        )
        for number in range(count)
    ]


def worst_difference(generation: Generation, checkpoint: Path, weights: Path) -> float:
    """Largest difference from the log-probabilities of a plain forward pass with `weights`."""
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    model.load_state_dict(load_file(weights), strict=False)
    model.tie_weights()
    ids = torch.tensor([[*PROMPT, *generation.token_ids]])
    with torch.no_grad():
        logprobs_TV = model(ids).logits[0].log_softmax(-1)
    positions = range(len(PROMPT), ids.shape[1])
    plain = torch.tensor([logprobs_TV[position - 1, ids[0, position]] for position in positions])
    return (plain - torch.tensor(generation.logprobs)).abs().max().item()


async def test_samples_come_from_the_new_weights(engine: Engine, checkpoint: Path, other: Path) -> None:
    old = checkpoint / "model.safetensors"
    before = await engine.generate_all(requests())
    assert worst_difference(before[0], checkpoint, old) < 1e-4
    await engine.update_weights(other, sha256=checksum(other), timeout_s=30)
    [first] = await engine.generate_all(requests(1))
    assert first.cached_tokens == 0, "the prefix cache of the old weights is dropped"
    after = await engine.generate_all(requests())
    assert all(worst_difference(one, checkpoint, other) < 1e-4 for one in [first, *after])
    assert worst_difference(after[0], checkpoint, old) > 0.01
    await engine.update_weights(old, sha256=checksum(old), timeout_s=30)
    assert worst_difference((await engine.generate_all(requests(1)))[0], checkpoint, old) < 1e-4


@pytest.mark.parametrize("checkpoint", ["own head"], indirect=True)
async def test_equal_requests_give_identical_results_bit_for_bit(engine: Engine, other: Path) -> None:
    rounds = []
    for _ in range(3):
        await engine.update_weights(other, sha256=checksum(other), timeout_s=30)
        rounds.append([await engine.generate_all(requests(30)) for _ in range(2)])
    assert rounds[0] == rounds[1] == rounds[2]
    assert len({one.token_ids for one in rounds[0][0]}) == 30, "each has its own seed"


def without_a_tensor(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in weights.items() if name != "model.norm.weight"}


def with_another_shape(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return weights | {"model.norm.weight": torch.ones(3)}


def with_an_unknown_tensor(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return weights | {"model.other.weight": torch.ones(3)}


@pytest.mark.parametrize("checkpoint", ["own head"], indirect=True)
async def test_faults_of_an_update_are_reported(engine: Engine, other: Path, tmp_path: Path) -> None:
    async def refusal(path: Path, sha256: str, timeout_s: float = 30) -> str:
        with pytest.raises(WeightSyncFailed) as caught:
            await engine.update_weights(path, sha256=sha256, timeout_s=timeout_s)
        return str(caught.value)

    assert "checksum" in await refusal(other, "0" * 64)
    assert "cannot be read" in await refusal(tmp_path / "missing.safetensors", "0" * 64)
    changes: list[Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]] = [
        without_a_tensor,
        with_another_shape,
        with_an_unknown_tensor,
    ]
    for change in changes:
        path = tmp_path / "changed.safetensors"
        save_file(change(load_file(other)), path)
        assert "model." in await refusal(path, checksum(path))
    assert "within" in await refusal(other, checksum(other), timeout_s=0)
    await engine.stop()
    with pytest.raises(EngineDead):
        await engine.update_weights(other, sha256=checksum(other), timeout_s=30)
    with pytest.raises(EngineDead):
        await engine.generate_all(requests())


@pytest.mark.parametrize("checkpoint", ["tied in name"], indirect=True)
async def test_a_head_that_differs_from_the_embedding_must_be_there(engine: Engine, other: Path) -> None:
    """Even if the configuration ties it: vLLM does not."""
    with pytest.raises(WeightSyncFailed, match=HEAD):
        await engine.update_weights(other, sha256=checksum(other), timeout_s=30)
