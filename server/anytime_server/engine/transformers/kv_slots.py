"""Keys and values of token sequences, one sequence in each slot: the KV cache of the transformers engine.

The first `num_running` slots are of running sequences, so that a step works on one slice without copying it.
The others are of finished sequences, whose prefixes can be reused. Knows tokens and tensors, not requests.

Dimensions: S slots, K key heads, T tokens of a slot, D head size, N rows of a step, Q new tokens of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache, CacheLayerMixin

MIN_SLOTS = 8
"""Minimum number of slots, so that an idle engine has a prefix cache too."""
LENGTH_STEP = 16
"""Slot lengths are multiples of this number of tokens."""
FEW_TOKENS = 32
"""Finished sequences with at most this number of tokens beyond their reused prefix are dropped first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The parts of the slots that the present step reads and writes."""

    first: int
    """First slot of the step."""
    rows_N1: torch.Tensor
    """0, 1, 2 ..."""
    writes_NQ: torch.Tensor
    """Position in the slot of each new token."""
    num_keys: int
    """Number of positions that attention reads, from the first."""


class SlotLayer(CacheLayerMixin):
    """The slots' keys and values in one layer, as transformers reads and writes them."""

    def __init__(self, key_shape: tuple[int, int], value_shape: tuple[int, int]) -> None:
        """
        Args:
            key_shape, value_shape: heads and head size.
        """
        super().__init__()
        self.shapes = (key_shape, value_shape)
        self.tensors: tuple[torch.Tensor, torch.Tensor] | None = None
        """Keys and values, both (S, K, T, D)."""
        self.span: Span | None = None
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        assert self.span is not None
        assert self.tensors is not None
        span, result = self.span, []
        for cached_SKTD, new_NKQD in zip(self.tensors, (key_states, value_states), strict=True):
            rows_NKTD = cached_SKTD[span.first : span.first + len(new_NKQD)]
            rows_NKTD[span.rows_N1, :, span.writes_NQ] = new_NKQD.transpose(1, 2)
            result.append(rows_NKTD[:, :, : span.num_keys])
        return tuple(result)

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        raise AssertionError("slots are made before the first step")

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return (self.span.num_keys if self.span else 0), 0

    def get_seq_length(self) -> int:
        return 0  # used only without given positions

    def get_max_length(self) -> int:
        return -1


class KvSlots:
    """The slots of a model."""

    def __init__(
        self,
        shapes: Sequence[tuple[tuple[int, int], tuple[int, int]]],
        *,
        dtype: torch.dtype,
        device: torch.device,
        max_slots: int,
        max_running: int,
        max_bytes: int,
    ) -> None:
        """
        Args:
            shapes: heads and head size of the keys, and of the values, for each layer.
            max_slots: maximum number of slots, at least `max_running`.
            max_running: maximum number of running slots.
            max_bytes: memory for all slots.
        """
        self.layers = [SlotLayer(keys, values) for keys, values in shapes]
        self.cache = Cache(layers=list(self.layers))
        self._dtype, self._device = dtype, device
        self._max_slots, self._max_running = max_slots, max_running
        numbers = sum(heads * size for pair in shapes for heads, size in pair)
        # At least two slots, for the decoder's check. A multiple of the step, so that one sequence with all
        # of these tokens fits after rounding up.
        num_tokens = max(2 * LENGTH_STEP, max_bytes // (numbers * dtype.itemsize))
        self.max_tokens = num_tokens // LENGTH_STEP * LENGTH_STEP
        """Capacity of all slots together, in tokens."""
        self.forget()

    def forget(self) -> None:
        """Drop all sequences and free the memory."""
        self.num_running = 0
        self.length = 0
        """Capacity of a slot, in tokens."""
        self.ids_ST = np.zeros((0, 0), np.int32)
        self._record(np.zeros((0, 4), np.int64))
        self._clock = 0
        for layer in self.layers:
            layer.tensors = layer.span = None

    def _record(self, records_S4: np.ndarray) -> None:
        self._records_S4 = records_S4
        self.num_tokens_S = records_S4[:, 0]
        """Number of tokens of each slot whose keys and values are present."""
        self._num_copied_S = records_S4[:, 1]
        """Number of them copied from another slot."""
        self._last_used_S = records_S4[:, 2]
        """Time of the last use, by a clock that counts operations."""
        self.salt_S = records_S4[:, 3]
        """Cache salt: a prefix is shared only among sequences of the same salt."""

    def fits(self, num_slots: int, num_tokens: int) -> bool:
        """Whether `num_slots` sequences of up to `num_tokens` tokens can run at the same time."""
        length = _rounded(num_tokens, LENGTH_STEP)
        return num_slots <= self._max_running and num_slots * length <= self.max_tokens

    def reserve(self, num_slots: int, num_tokens: int) -> None:
        """Make room for `num_slots` running sequences of up to `num_tokens` tokens.

        Running sequences stay in their slots; finished ones may be moved or dropped.
        """
        assert self.fits(num_slots, num_tokens)
        length = self.length
        if length < num_tokens or num_slots * length > self.max_tokens:
            length = _rounded(num_tokens, 64 if num_tokens <= 512 else 512)
            if num_slots * length > self.max_tokens:
                length = _rounded(num_tokens, LENGTH_STEP)
        desired = max(len(self.ids_ST), MIN_SLOTS, 1 << (2 * num_slots - 1).bit_length())
        possible = max(num_slots, min(self._max_slots, self.max_tokens // length))
        if (min(desired, possible), length) != self.ids_ST.shape:
            self._lay_out(min(desired, possible), length)

    def _lay_out(self, num_slots: int, length: int) -> None:
        others = np.arange(self.num_running, len(self.ids_ST))
        latest = others[np.argsort(-self._last_used_S[others], kind="stable")]
        kept = np.concatenate([np.arange(self.num_running), latest])[:num_slots]
        width = min(length, self.length)
        ids_ST, records_S4 = self.ids_ST, self._records_S4
        self.ids_ST = np.zeros((num_slots, length), np.int32)
        self.ids_ST[: len(kept), :width] = ids_ST[kept, :width]
        self._record(np.zeros((num_slots, 4), np.int64))
        self._records_S4[: len(kept)] = records_S4[kept]
        np.minimum(self.num_tokens_S, width, out=self.num_tokens_S)
        self.length = length
        where = torch.from_numpy(kept).to(self._device)
        for layer in self.layers:  # one after the other, so that only one tensor is in memory twice
            tensors: list[torch.Tensor] = []
            for i, (heads, size) in enumerate(layer.shapes):
                # Zeros: masked values are multiplied by 0, which would keep the NaN of uninitialised memory.
                new = torch.zeros(num_slots, heads, length, size, dtype=self._dtype, device=self._device)
                if layer.tensors is not None:
                    new[: len(kept), :, :width] = layer.tensors[i][:, :, :width].index_select(0, where)
                tensors.append(new)
            layer.tensors = (tensors[0], tensors[1])

    def find(self, ids: np.ndarray, *, salt: int) -> tuple[int, int]:
        """The slot of this salt with the longest common proper prefix with `ids`, and its length.

        (-1, 0) for none.
        """
        width = min(len(ids) - 1, self.length)
        if width == 0 or not len(self.ids_ST):
            return -1, 0
        lengths_S = np.where(self.salt_S == salt, self.num_tokens_S, 0)
        slot, num_common = longest_common_prefix(self.ids_ST[:, :width], ids[:width], lengths_S)
        return (slot, num_common) if num_common else (-1, 0)

    def claim(self, count: int, sources: set[int]) -> dict[int, int]:
        """Free the `count` slots after the running ones.

        Drops sequences with few tokens of their own first, then the least recently used.

        Args:
            sources: slots that are copied from next, to be kept if possible.

        Returns:
            The present slot of each source, without the dropped sources.
        """
        first = self.num_running
        self._clock += 1
        self._last_used_S[list(sources)] = self._clock
        behind = np.arange(first, len(self.ids_ST))
        has_much = (self.num_tokens_S - self._num_copied_S)[behind] > FEW_TOKENS
        must_move = ~has_much & (behind >= first + count)  # dropping these moves others out of the way
        is_source = np.isin(behind, list(sources))
        order = np.lexsort((self._last_used_S[behind], must_move, has_much, is_source))
        dropped = behind[order[:count]]
        claimed = np.arange(first, first + count)
        moved_from, moved_to = np.setdiff1d(claimed, dropped), np.setdiff1d(dropped, claimed)
        self.copy(moved_from, moved_to, self.num_tokens_S[moved_from])
        self._records_S4[moved_to] = self._records_S4[moved_from]
        lost = set(dropped.tolist())
        now = {slot: slot for slot in sources if slot not in lost}
        now |= {a: b for a, b in zip(moved_from.tolist(), moved_to.tolist(), strict=True) if a in sources}
        self._records_S4[claimed] = 0
        return now

    def copy(self, sources: np.ndarray, targets: np.ndarray, num_tokens: np.ndarray) -> None:
        """Copy the first `num_tokens` tokens of each source to its target; no slot may be both."""
        self.num_tokens_S[targets] = self._num_copied_S[targets] = num_tokens
        self.salt_S[targets] = self.salt_S[sources]
        triples = list(zip(sources.tolist(), targets.tolist(), num_tokens.tolist(), strict=True))
        for source, target, n in triples:
            self.ids_ST[target, :n] = self.ids_ST[source, :n]
        if self._device.type == "cpu":  # exact lengths cost more calls, which are cheap on a CPU
            for cached_SKTD in self._tensors():
                for source, target, n in triples:
                    cached_SKTD[target, :, :n].copy_(cached_SKTD[source, :, :n])
            return
        powers = np.ceil(np.log2(np.maximum(num_tokens, 1)))
        for power in np.unique(powers):  # one call for sequences of similar length
            width = int(num_tokens[powers == power].max())
            where = torch.from_numpy(np.stack([sources, targets])[:, powers == power]).to(self._device)
            for cached_SKTD in self._tensors():
                part = cached_SKTD[:, :, :width]
                part.index_copy_(0, where[1], part.index_select(0, where[0]))

    def release(self, finished: Sequence[int]) -> list[int]:
        """Mark running slots as finished, and move running ones into the gaps.

        Returns:
            The former slot of each running slot, in the new order.
        """
        num_left = self.num_running - len(finished)
        order = list(range(self.num_running))
        self._clock += 1
        self._last_used_S[list(finished)] = self._clock
        gone = set(finished)
        gaps = [slot for slot in sorted(gone) if slot < num_left]
        movers = [slot for slot in range(num_left, self.num_running) if slot not in gone]
        if gaps:
            here, there = np.array(gaps + movers), np.array(movers + gaps)
            width = int(self.num_tokens_S[here].max())
            to, source = torch.from_numpy(np.stack([here, there])).to(self._device)
            for cached_SKTD in self._tensors():
                part = cached_SKTD[:, :, :width]
                part.index_copy_(0, to, part.index_select(0, source))
            self.ids_ST[here] = self.ids_ST[there]
            self._records_S4[here] = self._records_S4[there]
            for gap, mover in zip(gaps, movers, strict=True):
                order[gap] = mover
        self.num_running = num_left
        return order[:num_left]

    def _tensors(self) -> list[torch.Tensor]:
        return [tensor for layer in self.layers for tensor in layer.tensors or ()]

    def set_span(self, span: Span) -> None:
        """Set the span of the next step."""
        for layer in self.layers:
            layer.span = span


def longest_common_prefix(rows_NT: np.ndarray, ids: np.ndarray, lengths_N: np.ndarray) -> tuple[int, int]:
    """The row with the longest common prefix with `ids`, and its length.

    Args:
        lengths_N: valid tokens of each row.
    """
    same_NT = rows_NT == ids
    common_N = np.where(same_NT.all(1), same_NT.shape[1], same_NT.argmin(1))
    common_N = np.minimum(common_N, lengths_N)
    row = int(common_N.argmax())
    return row, int(common_N[row])


def _rounded(number: int, step: int) -> int:
    return -(-number // step) * step
