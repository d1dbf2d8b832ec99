"""A logits processor for vLLM that makes a model of random weights write given tokens.

Random weights write no think-end and no tool call. All else is vLLM's: the steps, the limits, the stop tokens
and the cache.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from vllm import SamplingParams
from vllm.config import VllmConfig
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality

FILE = "forced.json"


def force(folder: Path, tokens: Sequence[Sequence[int]]) -> None:
    """Have the next requests to the engine of the model in `folder` write these tokens.

    Args:
        tokens: the ids for each request, in the order in which they reach the engine; after its ids a request
            is sampled as usual.
    """
    (folder / FILE).write_text(json.dumps([list(ids) for ids in tokens]))


class ForcedTokens(LogitsProcessor):
    """Takes the tokens of each new request from the file, as long as it has any."""

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        self._path = Path(vllm_config.model_config.model) / FILE
        self._requests: dict[int, tuple[list[int], list[int]]] = {}
        """Ids to write and ids written, by the request's place in the batch."""

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        if batch_update is None:
            return
        for index in batch_update.removed:
            self._requests.pop(index, None)
        for index, _, _, written in batch_update.added:
            self._requests[index] = (self._next(), written)
        for first, second, direction in batch_update.moved:
            one, other = self._requests.pop(first, None), self._requests.pop(second, None)
            if one is not None:
                self._requests[second] = one
            if other is not None and direction is MoveDirectionality.SWAP:
                self._requests[first] = other

    def _next(self) -> list[int]:
        if not self._path.is_file():
            return []
        first, *rest = json.loads(self._path.read_text())
        if rest:
            force(self._path.parent, rest)
        else:
            self._path.unlink()
        return first

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        for index, (ids, written) in self._requests.items():
            if len(written) < len(ids):
                logits[index] = -torch.inf
                logits[index, ids[len(written)]] = 0.0
        return logits

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Accept any: there are no parameters of its own."""


class FailingStep(ForcedTokens):
    """Fails at every step."""

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        raise AssertionError("this kernel is for another platform")
