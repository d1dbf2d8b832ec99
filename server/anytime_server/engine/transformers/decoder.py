"""Runs a transformers model over the KV slots: prefills prompts, then decodes all sequences, a token a step.

Synchronous, for one thread at a time. The caller decides which sequences run, and when they end.

Dimensions: N rows, Q new tokens of each, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from anytime_server.engine.transformers.kv_slots import KvSlots, Span, longest_common_prefix
from anytime_server.engine.transformers.sampler import Drawn, sample
from anytime_server.engine.transformers.sequence import SequenceState

MAX_STEP_TOKENS = 4096
"""Maximum number of new tokens in one step of a prefill, including padding."""
MAX_STEP_SCORES = 1 << 25
"""Maximum number of entries of the attention mask: new tokens times the tokens that they attend to."""
MIN_SHARED_TOKENS = 16
"""Length of a common prefix from which a prompt waits for another prompt of the same prefill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """The result of one step."""

    sequences: list[SequenceState]
    drawn: Drawn
    """The next token of each."""


@dataclass(slots=True, kw_only=True)
class _Prompt:
    """A distinct prompt of a prefill."""

    sequence: SequenceState
    source: int = -1
    """Slot with a prefix of the prompt; -1 for none."""
    parent: _Prompt | None = None
    """Prompt of the same prefill with the prefix, instead of a slot."""
    start: int = 0
    """Length of the prefix."""
    wave: int = 0
    """Prompts of one wave do not depend on one another."""
    slot: int = -1
    """Slot of this prompt."""

    @property
    def num_new(self) -> int:
        return len(self.sequence.prompt_ids) - self.start


class Decoder:
    """A model, its slots and its running sequences."""

    def __init__(self, model: Any, slots: KvSlots, device: torch.device) -> None:
        """
        Args:
            model: a causal language model of transformers, in evaluation mode.
        """
        self._model, self._device = model, device
        self.slots = slots
        self.running: list[SequenceState] = []
        """Running sequences in the order of their slots."""
        self.num_vocabulary: int = model.get_input_embeddings().num_embeddings

    def release_ended(self) -> None:
        """Release the slots of ended sequences, whose prefixes stay cached."""
        ended = [row for row, sequence in enumerate(self.running) if sequence.ended]
        if ended:
            self.running = [self.running[row] for row in self.slots.release(ended)]

    def forget(self) -> None:
        """Drop all running and cached sequences."""
        self.running = []
        self.slots.forget()

    @torch.inference_mode()
    def prefill(self, new: Sequence[SequenceState]) -> Sampled:
        """Prefill prompts and sample the first token of each. After an exception, none of them runs."""
        self.release_ended()
        slots, first = self.slots, len(self.running)
        slots.reserve(first + len(new), max(c.total_tokens for c in (*self.running, *new)))
        distinct: dict[tuple[int, bytes], list[SequenceState]] = {}
        for sequence in new:
            distinct.setdefault(_identity(sequence), []).append(sequence)
        prompts = [_Prompt(sequence=equal[0]) for equal in distinct.values()]
        self._find_prefixes(prompts)
        now = slots.claim(len(new), {prompt.source for prompt in prompts} - {-1})
        for prompt in prompts:
            if prompt.parent is None:
                prompt.source = now.get(prompt.source, -1)
                prompt.start = prompt.start if prompt.source >= 0 else 0
        prompts.sort(key=lambda prompt: (prompt.wave, prompt.num_new))
        for slot, prompt in enumerate(prompts, start=first):
            prompt.slot = slot
        logits = [self._compute(group) for group in _grouped(prompts)]

        in_order = [prompt.sequence for prompt in prompts]
        rows = list(range(len(prompts)))
        duplicates: list[tuple[int, int]] = []
        for row, prompt in enumerate(prompts):
            for duplicate in distinct[_identity(prompt.sequence)][1:]:
                duplicates.append((prompt.slot, first + len(in_order)))
                in_order.append(duplicate)
                rows.append(row)
                duplicate.cached_tokens = len(duplicate.prompt_ids) - 1
        if duplicates:
            sources, targets = np.array(duplicates).T
            slots.copy(sources, targets, slots.num_tokens_S[sources])
        drawn = sample(torch.cat(logits)[torch.tensor(rows, device=self._device)], in_order)
        self.running += in_order
        slots.num_running = len(self.running)
        return Sampled(sequences=in_order, drawn=drawn)

    def _find_prefixes(self, prompts: list[_Prompt]) -> None:
        """Find the slot or the earlier prompt with the longest prefix of each prompt."""
        width = max(len(prompt.sequence.prompt_ids) for prompt in prompts)
        earlier_NT = np.full((len(prompts), width), -1, np.int32)
        lengths_N = np.array([len(prompt.sequence.prompt_ids) for prompt in prompts])
        salts_N = np.array([prompt.sequence.salt for prompt in prompts])
        for i, prompt in enumerate(prompts):
            ids = prompt.sequence.prompt_ids
            salt = prompt.sequence.salt
            prompt.source, prompt.start = self.slots.find(ids, salt=salt)
            if i > 0 and len(ids) > 1:
                max_prefix = len(ids) - 1
                j, num_common = longest_common_prefix(
                    earlier_NT[:i, :max_prefix],
                    ids[:max_prefix],
                    np.where(salts_N[:i] == salt, lengths_N[:i], 0),
                )
                if num_common >= prompt.start + MIN_SHARED_TOKENS:
                    prompt.source, prompt.start, prompt.parent = -1, num_common, prompts[j]
                    prompt.wave = prompts[j].wave + 1
            earlier_NT[i, : len(ids)] = ids

    def _compute(self, group: list[_Prompt]) -> torch.Tensor:
        """Compute prompts with neighbouring slots. Returns the logits (N, V) after their last tokens."""
        slots, first = self.slots, group[0].slot
        with_prefix = [p for p in group if p.start > 0]
        if with_prefix:
            slots.copy(
                np.array([p.parent.slot if p.parent else p.source for p in with_prefix]),
                np.array([p.slot for p in with_prefix]),
                np.array([p.start for p in with_prefix]),
            )
        width = max(p.num_new for p in group)
        longest = max(len(p.sequence.prompt_ids) for p in group)
        # Only a group of one prompt can be too long for one step; the last part has the logits.
        part = max(1, min(MAX_STEP_TOKENS, MAX_STEP_SCORES // longest))
        logits_NV = torch.empty(0)
        for begin in range(0, width, part if len(group) == 1 else width):
            size = min(part, width - begin) if len(group) == 1 else width
            # Padded on the left, so that the last token of every row is in the last column. Padding attends
            # to the first token and is written to the last position, which no token needs: the last sampled
            # token is not fed back.
            ids_NQ = np.zeros((len(group), size), np.int64)
            positions_NQ = np.zeros_like(ids_NQ)
            writes_NQ = np.full_like(ids_NQ, slots.length - 1)
            for row, p in enumerate(group):
                span = range(p.start + begin, min(p.start + begin + size, len(p.sequence.prompt_ids)))
                ids_NQ[row, size - len(span) :] = p.sequence.prompt_ids[span.start : span.stop]
                positions_NQ[row, size - len(span) :] = span
                writes_NQ[row, size - len(span) :] = span
            logits_NV = self._forward(first, ids_NQ, positions_NQ, writes_NQ)
        for p in group:
            ids = p.sequence.prompt_ids
            slots.ids_ST[p.slot, : len(ids)] = ids
            slots.num_tokens_S[p.slot] = len(ids)
            slots.salt_S[p.slot] = p.sequence.salt
            p.sequence.cached_tokens = p.start
        return logits_NV

    @torch.inference_mode()
    def decode(self) -> Sampled | None:
        """Sample the next token of every running sequence; None without any."""
        self.release_ended()
        if not self.running:
            return None
        slots, rows = self.slots, np.arange(len(self.running))
        last_N = np.array([sequence.token_ids[-1] for sequence in self.running])
        positions_N = slots.num_tokens_S[rows]
        logits_NV = self._forward(0, last_N[:, None], positions_N[:, None], positions_N[:, None])
        slots.ids_ST[rows, positions_N] = last_N
        slots.num_tokens_S[rows] += 1
        return Sampled(sequences=list(self.running), drawn=sample(logits_NV, self.running))

    def _forward(
        self, first: int, ids_NQ: np.ndarray, positions_NQ: np.ndarray, writes_NQ: np.ndarray
    ) -> torch.Tensor:
        """Run one step over the slots from `first` on. Returns the logits (N, V) of the last column."""
        inputs = torch.from_numpy(np.stack([ids_NQ, positions_NQ, writes_NQ])).to(self._device)
        num_keys = min(self.slots.length, -(-(int(positions_NQ.max()) + 1) // 16) * 16)
        rows_N1 = torch.arange(len(ids_NQ), device=self._device)[:, None]
        self.slots.set_span(Span(first=first, rows_N1=rows_N1, writes_NQ=inputs[2], num_keys=num_keys))
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
        """Compare logits computed over the slots with those of the plain model.

        Args:
            reference_TV: logits of the plain model for each of `ids`, at least four.

        Returns:
            The largest difference, relative to the largest logit.
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


def _identity(sequence: SequenceState) -> tuple[int, bytes]:
    """Equal for sequences that share their whole prompt in the cache."""
    return sequence.salt, sequence.prompt_ids.tobytes()


def _grouped(prompts: list[_Prompt]) -> Iterator[list[_Prompt]]:
    """Groups of neighbouring prompts for one step each: of one wave and of similar length."""
    group: list[_Prompt] = []
    for prompt in prompts:
        if group:
            size = (len(group) + 1) * prompt.num_new
            longest = max(len(p.sequence.prompt_ids) for p in (*group, prompt))
            if (
                prompt.wave != group[0].wave
                or prompt.num_new > 2 * group[0].num_new + 8
                or size > MAX_STEP_TOKENS
                or size * longest > MAX_STEP_SCORES
            ):
                yield group
                group = []
        group.append(prompt)
    if group:
        yield group
