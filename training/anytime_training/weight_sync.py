"""The trainer's weights, into the engine that samples: through a file in memory, held against a checksum."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import safetensors.torch
import torch
from anytime_server.engine import Engine
from transformers import PreTrainedModel


def own_tensors(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The model's tensors as a checkpoint has them: weights that are tied to others come once."""
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in tied}


async def sync_weights(model: PreTrainedModel, engine: Engine, *, timeout_s: float) -> None:
    """Give the engine the model's weights as they are.

    Args:
        timeout_s: seconds that the engine may take.

    Raises:
        WeightSyncFailed, EngineDead: as `Engine.update_weights()`.
    """
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in own_tensors(model).items()}
    content = safetensors.torch.save(tensors)
    sha256 = hashlib.sha256(content).hexdigest()
    # A file without a name: it cannot be left behind, and /dev/shm, often small in containers, is not asked.
    with os.fdopen(os.memfd_create("anytime-weights"), "wb") as file:
        file.write(content)
        file.flush()
        del content, tensors
        path = Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
        await engine.update_weights(path, sha256=sha256, timeout_s=timeout_s)
