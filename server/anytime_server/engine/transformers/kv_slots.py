"""Keys and values of many token sequences, one sequence a slot, for as long as there is room.

The first `num_running` slots belong to what is being decoded, so that a step works on one slice
without copying it. Behind them stand finished sequences, whose beginnings others can take over.
Knows tokens and tensors, nothing of requests.

Dimensions: S slots, K key heads, T tokens of a slot, D head size, N rows of a step, Q new tokens of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache, CacheLayerMixin

SMALLEST_LAYOUT = 8
"""Slots that are made at the least, so that a quiet engine has a prefix cache too."""
LENGTH_STEP = 16
"""What the length of a slot is a multiple of, at the least."""
FEW_TOKENS = 32
"""A finished sequence that has no more than these beyond what it took over is the first to go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Where the present step reads and writes."""

    first: int
    """Its first slot."""
    rows_N1: torch.Tensor
    """0, 1, 2 ..."""
    writes_NQ: torch.Tensor
    """Position that each new token is kept at."""
    num_keys: int
    """Positions that are looked at, from the first."""


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
        span, answer = self.span, []
        for held_SKTD, new_NKQD in zip(self.tensors, (key_states, value_states), strict=True):
            rows_NKTD = held_SKTD[span.first : span.first + len(new_NKQD)]
            rows_NKTD[span.rows_N1, :, span.writes_NQ] = new_NKQD.transpose(1, 2)
            answer.append(rows_NKTD[:, :, : span.num_keys])
        return tuple(answer)

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        raise AssertionError("slots are made before the first step")

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return (self.span.num_keys if self.span else 0), 0

    def get_seq_length(self) -> int:
        return 0  # asked for only where no positions are given

    def get_max_length(self) -> int:
        return -1


class Slots:
    """All slots of a model."""

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
            shapes: of each layer: heads and head size of the keys, and of the values.
            max_slots: slots at the most, at least `max_running`.
            max_running: of them, those that run.
            max_bytes: memory for all of them.
        """
        self.layers = [SlotLayer(keys, values) for keys, values in shapes]
        self.cache = Cache(layers=list(self.layers))
        self._dtype, self._device = dtype, device
        self._max_slots, self._max_running = max_slots, max_running
        numbers = sum(heads * size for pair in shapes for heads, size in pair)
        # At the least two slots, which the decoder's check takes. A multiple of the step, so that one
        # sequence of all these tokens fits, rounded up as it is.
        num_tokens = max(2 * LENGTH_STEP, max_bytes // (numbers * dtype.itemsize))
        self.max_tokens = num_tokens // LENGTH_STEP * LENGTH_STEP
        """Tokens that there is memory for, in all slots together."""
        self.forget()

    def forget(self) -> None:
        """Let go of everything, memory included."""
        self.num_running = 0
        self.length = 0
        """Tokens that a slot has room for."""
        self.ids_ST = np.zeros((0, 0), np.int32)
        self._note(np.zeros((0, 3), np.int64))
        self._clock = 0
        for layer in self.layers:
            layer.tensors = layer.span = None

    def _note(self, notes_S3: np.ndarray) -> None:
        self._notes_S3 = notes_S3
        self.num_tokens_S = notes_S3[:, 0]
        """Of each slot: tokens, from the first, whose keys and values it has."""
        self._num_copied_S = notes_S3[:, 1]
        """Of those, the ones that it took over from another slot."""
        self._last_used_S = notes_S3[:, 2]
        """When, by a clock that counts what is done here."""

    def fits(self, num_slots: int, num_tokens: int) -> bool:
        """Whether so many sequences of up to so many tokens can run at the same time."""
        length = _rounded(num_tokens, LENGTH_STEP)
        return num_slots <= self._max_running and num_slots * length <= self.max_tokens

    def reserve(self, num_slots: int, num_tokens: int) -> None:
        """Make room for so many running sequences of up to so many tokens.

        Running slots stay as they are; others may move or go.
        """
        assert self.fits(num_slots, num_tokens)
        length = self.length
        if length < num_tokens or num_slots * length > self.max_tokens:
            length = _rounded(num_tokens, 64 if num_tokens <= 512 else 512)
            if num_slots * length > self.max_tokens:
                length = _rounded(num_tokens, LENGTH_STEP)
        wanted = max(len(self.ids_ST), SMALLEST_LAYOUT, 1 << (2 * num_slots - 1).bit_length())
        most = max(num_slots, min(self._max_slots, self.max_tokens // length))
        if (min(wanted, most), length) != self.ids_ST.shape:
            self._lay_out(min(wanted, most), length)

    def _lay_out(self, num_slots: int, length: int) -> None:
        others = np.arange(self.num_running, len(self.ids_ST))
        latest = others[np.argsort(-self._last_used_S[others], kind="stable")]
        kept = np.concatenate([np.arange(self.num_running), latest])[:num_slots]
        width = min(length, self.length)
        ids_ST, notes_S3 = self.ids_ST, self._notes_S3
        self.ids_ST = np.zeros((num_slots, length), np.int32)
        self.ids_ST[: len(kept), :width] = ids_ST[kept, :width]
        self._note(np.zeros((num_slots, 3), np.int64))
        self._notes_S3[: len(kept)] = notes_S3[kept]
        np.minimum(self.num_tokens_S, width, out=self.num_tokens_S)
        self.length = length
        where = torch.from_numpy(kept).to(self._device)
        for layer in self.layers:  # one after the other: only one tensor is there twice
            tensors: list[torch.Tensor] = []
            for i, (heads, size) in enumerate(layer.shapes):
                # Zeros, since what is masked is still multiplied by 0, and memory may hold NaN.
                new = torch.zeros(num_slots, heads, length, size, dtype=self._dtype, device=self._device)
                if layer.tensors is not None:
                    new[: len(kept), :, :width] = layer.tensors[i][:, :, :width].index_select(0, where)
                tensors.append(new)
            layer.tensors = (tensors[0], tensors[1])

    def find(self, ids: np.ndarray) -> tuple[int, int]:
        """The slot that has most of the beginning of `ids`, and how many tokens of it: not all."""
        width = min(len(ids) - 1, self.length)
        if width == 0 or not len(self.ids_ST):
            return -1, 0
        slot, num_common = longest_common(self.ids_ST[:, :width], ids[:width], self.num_tokens_S)
        return (slot, num_common) if num_common else (-1, 0)

    def claim(self, count: int, sources: set[int]) -> dict[int, int]:
        """Free the `count` slots behind the running ones.

        It costs those that have little of their own, then those unused for longest.

        Args:
            sources: slots that are about to be copied from, to be spared if possible.

        Returns:
            Where each of the sources is now; one that could not be spared is left out.
        """
        first = self.num_running
        self._clock += 1
        self._last_used_S[list(sources)] = self._clock
        behind = np.arange(first, len(self.ids_ST))
        has_much = (self.num_tokens_S - self._num_copied_S)[behind] > FEW_TOKENS
        must_move = ~has_much & (behind >= first + count)  # what stands elsewhere, for one that goes here
        is_source = np.isin(behind, list(sources))
        order = np.lexsort((self._last_used_S[behind], must_move, has_much, is_source))
        victims = behind[order[:count]]
        claimed = np.arange(first, first + count)
        moved_from, moved_to = np.setdiff1d(claimed, victims), np.setdiff1d(victims, claimed)
        self.copy(moved_from, moved_to, self.num_tokens_S[moved_from])
        self._notes_S3[moved_to] = self._notes_S3[moved_from]
        lost = set(victims.tolist())
        now = {slot: slot for slot in sources if slot not in lost}
        now |= {a: b for a, b in zip(moved_from.tolist(), moved_to.tolist(), strict=True) if a in sources}
        self._notes_S3[claimed] = 0
        return now

    def copy(self, sources: np.ndarray, targets: np.ndarray, num_tokens: np.ndarray) -> None:
        """Copy the first so many tokens of each source to its target; no slot may be both."""
        self.num_tokens_S[targets] = self._num_copied_S[targets] = num_tokens
        triples = list(zip(sources.tolist(), targets.tolist(), num_tokens.tolist(), strict=True))
        for source, target, n in triples:
            self.ids_ST[target, :n] = self.ids_ST[source, :n]
        if self._device.type == "cpu":  # where exact lengths are worth more than few calls
            for held_SKTD in self._tensors():
                for source, target, n in triples:
                    held_SKTD[target, :, :n].copy_(held_SKTD[source, :, :n])
            return
        powers = np.ceil(np.log2(np.maximum(num_tokens, 1)))
        for power in np.unique(powers):  # of alike length, together
            width = int(num_tokens[powers == power].max())
            where = torch.from_numpy(np.stack([sources, targets])[:, powers == power]).to(self._device)
            for held_SKTD in self._tensors():
                part = held_SKTD[:, :, :width]
                part.index_copy_(0, where[1], part.index_select(0, where[0]))

    def release(self, finished: Sequence[int]) -> list[int]:
        """Let running slots go, and close the gaps with those that still run.

        Returns:
            The order of the running slots from now on, by their former places.
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
            for held_SKTD in self._tensors():
                part = held_SKTD[:, :, :width]
                part.index_copy_(0, to, part.index_select(0, source))
            self.ids_ST[here] = self.ids_ST[there]
            self._notes_S3[here] = self._notes_S3[there]
            for gap, mover in zip(gaps, movers, strict=True):
                order[gap] = mover
        self.num_running = num_left
        return order[:num_left]

    def _tensors(self) -> list[torch.Tensor]:
        return [tensor for layer in self.layers for tensor in layer.tensors or ()]

    def look_at(self, span: Span) -> None:
        """Say where the step to come reads and writes."""
        for layer in self.layers:
            layer.span = span


def longest_common(rows_NT: np.ndarray, ids: np.ndarray, most_N: np.ndarray) -> tuple[int, int]:
    """The row that begins most like `ids`, of whose tokens `most_N` count, and how many are alike."""
    same_NT = rows_NT == ids
    common_N = np.where(same_NT.all(1), same_NT.shape[1], same_NT.argmin(1))
    common_N = np.minimum(common_N, most_N)
    row = int(common_N.argmax())
    return row, int(common_N[row])


def _rounded(number: int, step: int) -> int:
    return -(-number // step) * step
