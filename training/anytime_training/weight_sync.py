"""The trainer's weights, into the engine that samples: through a file in memory, held against a checksum."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import safetensors.torch
import torch
from anytime_server.engine import Engine
from transformers import PreTrainedModel

SHARED_MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
"""Where a file costs no disk; None for the usual place of temporary files."""


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
    with tempfile.NamedTemporaryFile(suffix=".safetensors", dir=SHARED_MEMORY) as file:
        file.write(content)
        file.flush()
        await engine.update_weights(
            Path(file.name), sha256=hashlib.sha256(content).hexdigest(), timeout_s=timeout_s
        )
