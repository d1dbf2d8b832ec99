"""Steps of a model from transformers over the slots: prompts in, then one token for all at a time.

Synchronous; whoever calls it, from one thread at a time, decides what runs and when it ends.

Dimensions: N rows, Q new tokens of each, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from anytime_server.engine.transformers.kv_slots import Slots, Span, longest_common
from anytime_server.engine.transformers.sampler import Drawn, sample
from anytime_server.engine.transformers.sequence import Continuation

MAX_STEP_TOKENS = 4096
"""New tokens in one step of a prefill, padding included."""
MAX_STEP_SCORES = 1 << 25
"""The same times the tokens that they look at: entries of the mask."""
LEAST_SHARED = 16
"""Tokens that a prompt must have in common with another of the same prefill to wait for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """What one step gave."""

    continuations: list[Continuation]
    """Those that were in it."""
    drawn: Drawn
    """The next token of each."""


@dataclass(slots=True, kw_only=True)
class _Prompt:
    """One of the different prompts of a prefill."""

    continuation: Continuation
    source: int = -1
    """Slot that has its beginning; -1 for none."""
    parent: _Prompt | None = None
    """Prompt of the same prefill that has it instead."""
    start: int = 0
    """Tokens of that beginning."""
    wave: int = 0
    """Prompts of one wave need nothing of one another."""
    slot: int = -1
    """Its own."""

    @property
    def num_new(self) -> int:
        return len(self.continuation.prompt_ids) - self.start


class Decoder:
    """A model, its slots, and the continuations that run."""

    def __init__(self, model: Any, slots: Slots, device: torch.device) -> None:
        """
        Args:
            model: of transformers, a causal language model in evaluation mode.
        """
        self._model, self._device = model, device
        self.slots = slots
        self.running: list[Continuation] = []
        """In the order of their slots."""
        self.num_vocabulary: int = model.get_input_embeddings().num_embeddings

    def release_ended(self) -> None:
        """Free the slots of what has ended; what they hold stays for others to begin with."""
        ended = [row for row, continuation in enumerate(self.running) if continuation.ended]
        if ended:
            self.running = [self.running[row] for row in self.slots.release(ended)]

    def forget(self) -> None:
        """Drop everything that was computed, and all that runs."""
        self.running = []
        self.slots.forget()

    @torch.inference_mode()
    def prefill(self, new: Sequence[Continuation]) -> Sampled:
        """Take in prompts and sample the first token of each. Where it fails, nothing of them is kept."""
        self.release_ended()
        slots, first = self.slots, len(self.running)
        slots.reserve(first + len(new), max(c.total_tokens for c in (*self.running, *new)))
        different: dict[bytes, list[Continuation]] = {}
        for continuation in new:
            different.setdefault(continuation.prompt_ids.tobytes(), []).append(continuation)
        prompts = [_Prompt(continuation=alike[0]) for alike in different.values()]
        self._find_beginnings(prompts)
        now = slots.claim(len(new), {prompt.source for prompt in prompts} - {-1})
        for prompt in prompts:
            if prompt.parent is None:
                prompt.source = now.get(prompt.source, -1)
                prompt.start = prompt.start if prompt.source >= 0 else 0
        prompts.sort(key=lambda prompt: (prompt.wave, prompt.num_new))
        for slot, prompt in enumerate(prompts, start=first):
            prompt.slot = slot
        logits = [self._compute(group) for group in _grouped(prompts)]

        in_order = [prompt.continuation for prompt in prompts]
        places = list(range(len(prompts)))
        twins: list[tuple[int, int]] = []
        for place, prompt in enumerate(prompts):
            for twin in different[prompt.continuation.prompt_ids.tobytes()][1:]:
                twins.append((prompt.slot, first + len(in_order)))
                in_order.append(twin)
                places.append(place)
                twin.cached_tokens = len(twin.prompt_ids) - 1
        if twins:
            sources, targets = np.array(twins).T
            slots.copy(sources, targets, slots.num_tokens_S[sources])
        drawn = sample(torch.cat(logits)[torch.tensor(places, device=self._device)], in_order)
        self.running += in_order
        slots.num_running = len(self.running)
        return Sampled(continuations=in_order, drawn=drawn)

    def _find_beginnings(self, prompts: list[_Prompt]) -> None:
        """Find for each prompt what has most of its beginning: a slot, or an earlier prompt."""
        width = max(len(prompt.continuation.prompt_ids) for prompt in prompts)
        earlier_NT = np.full((len(prompts), width), -1, np.int32)
        lengths_N = np.array([len(prompt.continuation.prompt_ids) for prompt in prompts])
        for i, prompt in enumerate(prompts):
            ids = prompt.continuation.prompt_ids
            prompt.source, prompt.start = self.slots.find(ids)
            if i > 0 and len(ids) > 1:
                most = len(ids) - 1
                j, num_common = longest_common(earlier_NT[:i, :most], ids[:most], lengths_N[:i])
                if num_common >= prompt.start + LEAST_SHARED:
                    prompt.source, prompt.start, prompt.parent = -1, num_common, prompts[j]
                    prompt.wave = prompts[j].wave + 1
            earlier_NT[i, : len(ids)] = ids

    def _compute(self, group: list[_Prompt]) -> torch.Tensor:
        """Fill the slots of prompts that stand side by side; the logits (N, V) after the last token."""
        slots, first = self.slots, group[0].slot
        taken = [p for p in group if p.start > 0]
        if taken:
            slots.copy(
                np.array([p.parent.slot if p.parent else p.source for p in taken]),
                np.array([p.slot for p in taken]),
                np.array([p.start for p in taken]),
            )
        width = max(p.num_new for p in group)
        most = max(len(p.continuation.prompt_ids) for p in group)
        # Only a single prompt can be too long for one step; the last part has the logits.
        part = max(1, min(MAX_STEP_TOKENS, MAX_STEP_SCORES // most))
        logits_NV = torch.empty(0)
        for begin in range(0, width, part if len(group) == 1 else width):
            size = min(part, width - begin) if len(group) == 1 else width
            # Padded at the left, so that the last token of every row stands in the last column. Padding
            # looks at the first token and is kept in the last place, which no token ever needs: the
            # last one sampled is not fed back.
            ids_NQ = np.zeros((len(group), size), np.int64)
            positions_NQ = np.zeros_like(ids_NQ)
            writes_NQ = np.full_like(ids_NQ, slots.length - 1)
            for row, p in enumerate(group):
                span = range(p.start + begin, min(p.start + begin + size, len(p.continuation.prompt_ids)))
                ids_NQ[row, size - len(span) :] = p.continuation.prompt_ids[span.start : span.stop]
                positions_NQ[row, size - len(span) :] = span
                writes_NQ[row, size - len(span) :] = span
            logits_NV = self._forward(first, ids_NQ, positions_NQ, writes_NQ)
        for p in group:
            ids = p.continuation.prompt_ids
            slots.ids_ST[p.slot, : len(ids)] = ids
            slots.num_tokens_S[p.slot] = len(ids)
            p.continuation.cached_tokens = p.start
        return logits_NV

    @torch.inference_mode()
    def decode(self) -> Sampled | None:
        """Sample the next token of all that runs; None where nothing does."""
        self.release_ended()
        if not self.running:
            return None
        slots, rows = self.slots, np.arange(len(self.running))
        last_N = np.array([continuation.token_ids[-1] for continuation in self.running])
        positions_N = slots.num_tokens_S[rows]
        logits_NV = self._forward(0, last_N[:, None], positions_N[:, None], positions_N[:, None])
        slots.ids_ST[rows, positions_N] = last_N
        slots.num_tokens_S[rows] += 1
        return Sampled(continuations=list(self.running), drawn=sample(logits_NV, self.running))

    def _forward(
        self, first: int, ids_NQ: np.ndarray, positions_NQ: np.ndarray, writes_NQ: np.ndarray
    ) -> torch.Tensor:
        """One step over the slots from `first` on; the logits (N, V) of the last column."""
        inputs = torch.from_numpy(np.stack([ids_NQ, positions_NQ, writes_NQ])).to(self._device)
        num_keys = min(self.slots.length, -(-(int(positions_NQ.max()) + 1) // 16) * 16)
        rows_N1 = torch.arange(len(ids_NQ), device=self._device)[:, None]
        self.slots.look_at(Span(first=first, rows_N1=rows_N1, writes_NQ=inputs[2], num_keys=num_keys))
        is_later_NQT = torch.arange(num_keys, device=self._device) > inputs[1][:, :, None]
        mask_N1QT = torch.zeros(is_later_NQT.shape, dtype=self._model.dtype, device=self._device)
        output = self._model(
            input_ids=inputs[0],
            position_ids=inputs[1],
            attention_mask=mask_N1QT.masked_fill_(is_later_NQT, -torch.inf)[:, None],
            past_key_values=self.slots.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1]

    @torch.inference_mode()
    def check(self, reference_TV: torch.Tensor, ids: list[int]) -> float:
        """How far logits that come by way of the slots are from those of the plain model.

        Args:
            reference_TV: the plain model's for each of `ids`, at least four.

        Returns:
            The greatest difference, as a share of the greatest logit.
        """
        half, all_N = len(ids) // 2, np.array(ids)
        self.slots.reserve(2, len(ids) + 1)
        ids_NQ = np.stack([np.roll(all_N, len(ids) - half), all_N])
        positions_NQ = np.stack([np.roll(np.arange(len(ids)), len(ids) - half), np.arange(len(ids))])
        positions_NQ[0, : len(ids) - half] = 0
        writes_NQ = positions_NQ.copy()
        writes_NQ[0, : len(ids) - half] = self.slots.length - 1
        prompts_NV = self._forward(0, ids_NQ, positions_NQ, writes_NQ)
        after_V = self._forward(0, all_N[half, None, None], np.array([[half]]), np.array([[half]]))[0]
        self.slots.forget()
        found = torch.stack([*prompts_NV, after_V]).float()
        expected = reference_TV[[half - 1, len(ids) - 1, half]].float()
        return float((found - expected).abs().max() / expected.abs().max())


def _grouped(prompts: list[_Prompt]) -> Iterator[list[_Prompt]]:
    """Neighbours that one step can take together: of one wave, and of about the same length."""
    group: list[_Prompt] = []
    for prompt in prompts:
        if group:
            size = (len(group) + 1) * prompt.num_new
            most = max(len(p.continuation.prompt_ids) for p in (*group, prompt))
            if (
                prompt.wave != group[0].wave
                or prompt.num_new > 2 * group[0].num_new + 8
                or size > MAX_STEP_TOKENS
                or size * most > MAX_STEP_SCORES
            ):
                yield group
                group = []
        group.append(prompt)
    if group:
        yield group
