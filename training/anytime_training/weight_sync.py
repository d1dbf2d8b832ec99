"""Transfer of the trainer's weights to the engine: through a file in memory, verified by a checksum."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import safetensors.torch
import torch
from anytime_server.engine import Engine
from transformers import PreTrainedModel


def own_tensors(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The model's tensors as in a checkpoint: tied weights once."""
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in tied}


async def sync_weights(model: PreTrainedModel, engine: Engine, *, timeout_s: float) -> None:
    """Give the engine the model's current weights.

    Args:
        timeout_s: time limit for the engine, in seconds.

    Raises:
        WeightSyncFailed, EngineDead: as `Engine.update_weights()`.
    """
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in own_tensors(model).items()}
    content = safetensors.torch.save(tensors)
    sha256 = hashlib.sha256(content).hexdigest()
    # An unnamed file: nothing is left behind, and /dev/shm, which is often small in containers, is not used.
    with os.fdopen(os.memfd_create("anytime-weights"), "wb") as file:
        file.write(content)
        file.flush()
        del content, tensors
        path = Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
        await engine.update_weights(path, sha256=sha256, timeout_s=timeout_s)
