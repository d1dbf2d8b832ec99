"""Loads a transformers model, and replaces its weights."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.utils import logging as transformers_logging

from anytime_server.engine.transformers.attention import SHARED_KEYS
from anytime_server.engine.transformers.decoder import Decoder
from anytime_server.engine.transformers.kv_slots import KvSlots
from anytime_server.engine.weights import (
    checkpoint_shapes,
    is_computed,
    require_checksum,
    require_same_shapes,
)
from anytime_server.errors import UnusableModel, WeightSyncFailed

TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.02, torch.bfloat16: 0.1}
"""Maximum relative difference of logits computed over the slots: rounding errors, but no other mask."""


@dataclass(slots=True, kw_only=True)
class LoadedModel:
    """A model in memory and its decoder."""

    model: Any
    """A causal language model of transformers."""
    decoder: Decoder
    device: torch.device
    window_tokens: int
    """Maximum length of a sequence."""
    _replacing_cancelled: threading.Event = field(default_factory=threading.Event)

    def survives(self, error: Exception) -> bool:
        """Whether the device is usable after this error; a GPU only after it was out of memory."""
        return self.device.type == "cpu" or isinstance(error, torch.OutOfMemoryError)

    def forget(self) -> None:
        """Drop all sequences and free their memory."""
        self.decoder.forget()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def free(self) -> None:
        """Drop the model too."""
        del self.decoder, self.model
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def cancel_replacing(self) -> None:
        """End `replace_weights()` from another thread."""
        self._replacing_cancelled.set()

    @torch.no_grad()
    def replace_weights(self, path: Path, sha256: str) -> None:
        """Replace the model's weights by those of a safetensors file, after all of them were checked.

        Raises:
            WeightSyncFailed: the file does not match the model, which is unchanged.
        """
        require_checksum(path, sha256)
        loaded = safetensors.torch.load_file(path)  # memory-mapped, so that the file is not in memory twice
        new, old = (
            {name: tensor for name, tensor in side.items() if not is_computed(name)}
            for side in (loaded, self.model.state_dict())
        )
        for tied, source in self.model.all_tied_weights_keys.items():
            if tied in new and source in new and not torch.equal(new[tied], new[source]):
                raise WeightSyncFailed(f"{tied} differs from {source}, which the model ties it to")
            if source not in new and tied in new:
                new[source] = new[tied]
            new.pop(tied, None)
            old.pop(tied, None)
        require_same_shapes(*({name: tuple(t.shape) for name, t in side.items()} for side in (new, old)))
        self.decoder.forget()
        for name, tensor in old.items():
            if self._replacing_cancelled.is_set():
                return
            tensor.copy_(new[name])


def load_model(
    folder: Path,
    *,
    device: str,
    dtype: str,
    window_tokens: int | None,
    max_running: int,
    kv_cache_mib: int | None,
    threads: int | None,
) -> LoadedModel:
    """Load a checkpoint and check that the decoder computes the same logits as the plain model.

    Raises:
        UnusableModel: the checkpoint cannot be loaded, or the decoder cannot run the model.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    checkpoint_shapes(folder)  # fails if a file is incomplete
    config = AutoConfig.from_pretrained(folder).get_text_config()
    window = config.max_position_embeddings
    if window_tokens is not None and window_tokens > window:
        raise UnusableModel(f"the window cannot have {window_tokens} tokens: the model has {window}")
    window = window_tokens or window
    _require_full_attention(config, window)
    torch_device = _device(device)
    kind = getattr(
        torch, ("bfloat16" if torch_device.type == "cuda" else "float32") if dtype == "auto" else dtype
    )
    model = _pretrained(folder, kind).to(torch_device)
    ids = [i * 7 % config.vocab_size for i in range(12)]
    cache = DynamicCache(config=config)
    with torch.inference_mode():
        plain = model(
            input_ids=torch.tensor([ids], device=torch_device), past_key_values=cache, use_cache=True
        )
    model.set_attn_implementation(SHARED_KEYS)
    slots = KvSlots(
        _cached_shapes(cache),
        dtype=kind,
        device=torch_device,
        max_slots=2 * max_running,
        max_running=max_running,
        max_bytes=_cache_bytes(torch_device, kv_cache_mib),
    )
    if slots.max_tokens < window:
        if window_tokens is not None:
            raise UnusableModel(f"the KV cache has room for {slots.max_tokens} tokens, not {window}")
        window = slots.max_tokens
    assert slots.fits(1, window)
    decoder = Decoder(model, slots, torch_device)
    if not decoder.check(plain.logits[0], ids) <= TOLERANCE[kind]:
        raise UnusableModel(
            "the model computes other logits when sequences of different lengths share a step"
        )
    return LoadedModel(model=model, decoder=decoder, device=torch_device, window_tokens=window)


def _pretrained(folder: Path, dtype: torch.dtype) -> Any:
    """The model of a checkpoint, with every weight, for inference."""
    with _quiet_transformers():
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation="sdpa", output_loading_info=True
        )
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise UnusableModel(f"the checkpoint in {folder} lacks {missing[0]}")
    return model.eval().requires_grad_(False)


def _cached_shapes(cache: DynamicCache) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Heads and head size of the keys, and of the values, in each layer of a cache."""
    shapes: list[tuple[tuple[int, int], tuple[int, int]]] = []
    for layer in cache.layers:
        if type(layer) is not DynamicLayer or layer.keys is None or layer.values is None:
            raise UnusableModel("the transformers engine runs only models with full attention in every layer")
        _, num_key_heads, _, key_size = layer.keys.shape
        _, num_value_heads, _, value_size = layer.values.shape
        shapes.append(((num_key_heads, key_size), (num_value_heads, value_size)))
    return shapes


def _require_full_attention(config: Any, window: int) -> None:
    kinds = set(getattr(config, "layer_types", None) or ())
    window_of_layers = getattr(config, "sliding_window", None)
    if (
        not kinds
        and window_of_layers
        and getattr(config, "use_sliding_window", True)
        and window_of_layers < window
    ):
        kinds = {"sliding_attention"}
    if others := sorted(kinds - {"full_attention"}):
        raise UnusableModel(
            f"the transformers engine runs only models with full attention in every layer, not {others[0]}"
        )


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise UnusableModel("there is no GPU that PyTorch can use")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def _cache_bytes(device: torch.device, kv_cache_mib: int | None) -> int:
    if kv_cache_mib is not None:
        return kv_cache_mib << 20
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else 1 << 30


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Disable the progress bars and messages of transformers."""
    level, had_bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if had_bar:
            transformers_logging.enable_progress_bar()
