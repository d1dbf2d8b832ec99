"""The start of reinforcement learning: the checkpoint, an engine and a learner on it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from anytime_server.engine import Engine
from anytime_server.errors import AnytimeError, first_line
from anytime_server.models.catalogue import CATALOGUE, models_folder
from anytime_server.text.model import BUNDLED_MODELS, Model

from anytime_training.config.brpo import BrpoRecipe, EngineConfig
from anytime_training.errors import RecipeError
from anytime_training.learner import Learner
from anytime_training.policy import ATTENTION_IMPLEMENTATIONS, require_full_attention
from anytime_training.rollout import require_one_think_end
from anytime_training.weight_sync import own_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_start(recipe: BrpoRecipe) -> Model:
    """The checkpoint that the recipe starts from, without its weights.

    Raises:
        RecipeError: it does not exist, or cannot be served.
    """
    folder = start_folder(recipe.model)
    try:
        model = Model.load(folder, preset=recipe.reasoning_preset)
        require_one_think_end(model)
    except AnytimeError as error:
        raise RecipeError(f"model: {error}") from error
    if not model.reasoning.answer_lead_in_ids:
        raise RecipeError(
            f"model: {folder} has no answer_lead_in; training needs a lead-in of at least one token, "
            "where the answer branches off the thinking"
        )
    return model


def start_folder(name: str) -> Path:
    """The folder of a checkpoint: bundled, got by `anytime models get`, or the folder of that name.

    Raises:
        RecipeError: it does not exist.
    """
    bundled = {path.name: path for path in BUNDLED_MODELS.iterdir()}
    got = {known: models_folder() / known for known in CATALOGUE}
    folder = (got | bundled).get(name, Path(name).expanduser())
    if folder.is_dir():
        return folder
    if name in got:
        raise RecipeError(f"model: {name} is not here yet: get it with `anytime models get {name}`")
    names = ", ".join(sorted(bundled))
    raise RecipeError(f"model: there is no folder {name}, nor is it bundled ({names})")


def build_engine(recipe: BrpoRecipe, model: Model) -> Engine:
    """The engine that samples the rollouts, not yet started."""
    config: EngineConfig = recipe.engine
    if config.kind == "vllm":
        from anytime_server.engine.vllm import VllmEngine, VllmOptions

        return VllmEngine(
            model.folder,
            options=VllmOptions(
                window_tokens=config.window_tokens,
                max_num_seqs=config.max_num_seqs,
                dtype=config.dtype,
                tensor_parallel_size=config.tensor_parallel_size,
                gpu_memory_utilization=config.gpu_memory_utilization,
                kv_cache_mib=config.kv_cache_mib or 512,
            ),
        )
    from anytime_server.engine.transformers import TransformersEngine, TransformersOptions

    return TransformersEngine(
        model.folder,
        options=TransformersOptions(
            window_tokens=config.window_tokens,
            max_num_seqs=config.max_num_seqs,
            dtype=config.dtype,
            kv_cache_mib=config.kv_cache_mib,
            threads=recipe.learner.threads,
        ),
    )


def build_learner(recipe: BrpoRecipe, model: Model, *, max_rollout_tokens: int) -> Learner:
    """The learner, with the checkpoint's weights in float32.

    Raises:
        RecipeError: the model cannot be trained on trees, or the device does not exist.
    """
    config = recipe.learner
    torch.set_num_threads(config.threads)
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise RecipeError("learner.device: there is no CUDA device here")
    if config.attention == "flex" and device == "cpu":
        raise RecipeError("learner.attention: flex needs a GPU; on a CPU it is sdpa")
    network = load_network(model.folder, attention=ATTENTION_IMPLEMENTATIONS[config.attention])
    network.to(device=torch.device(device))  # pyright: ignore[reportCallIssue, reportArgumentType]
    if config.gradient_checkpointing:
        network.gradient_checkpointing_enable()
    network.train()
    # The engine samples without dropout, and a resumed run could not repeat it.
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif hasattr(module, "attention_dropout"):
            setattr(module, "attention_dropout", 0.0)  # noqa: B010 (a plain attribute, not a submodule)
    reference = None
    if recipe.loss.kl_coefficient > 0:
        reference = copy.deepcopy(network).requires_grad_(False).eval()
    return Learner(
        network,
        config=config,
        loss=recipe.loss,
        pad_id=min(model.reasoning.eos_ids),
        max_rollout_tokens=max_rollout_tokens,
        max_mismatch=recipe.engine.max_mismatch,
        reference=reference,
    )


def load_network(folder: Path, *, attention: str) -> PreTrainedModel:
    """A checkpoint's causal language model, in float32.

    Raises:
        RecipeError: the model cannot be loaded, or not be trained on trees.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        network = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation=attention, local_files_only=True
        )
        require_full_attention(network.config)
    except Exception as error:
        raise RecipeError(f"model: {folder} cannot be trained: {first_line(error)}") from error
    return network


def stored_tensors(network: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The weights as a checkpoint stores them, in bfloat16."""
    return {
        name: tensor.detach().to("cpu", torch.bfloat16).contiguous()
        for name, tensor in own_tensors(network).items()
    }
