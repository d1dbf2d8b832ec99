"""Changes to the logits of many sequences before one token is sampled of each.

In vLLM's order: the client's bias, bans, then penalties. Rows that ask for nothing are not touched, and cost
nothing.

Dimensions: N rows, V vocabulary, C changed cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from anytime_server.engine.transformers.sequence import Edits, SequenceState


def constrained_to_schemas(logits_NV: torch.Tensor, sequences: Sequence[SequenceState]) -> torch.Tensor:
    """The logits with minus infinity for tokens that the row's schema forbids, which is less than a ban."""
    allowed = [(row, c.matcher.allowed()) for row, c in enumerate(sequences) if c.matcher is not None]
    if not allowed:
        return logits_NV
    rows = torch.tensor([row for row, _ in allowed], device=logits_NV.device)
    allowed_NV = torch.from_numpy(np.stack([allowed_V for _, allowed_V in allowed])).to(logits_NV.device)
    logits_NV = logits_NV.clone()
    logits_NV[rows] = logits_NV[rows].masked_fill(~allowed_NV, -torch.inf)
    return logits_NV


def adjusted(logits_NV: torch.Tensor, sequences: Sequence[SequenceState]) -> torch.Tensor:
    """The logits after bias, bans and penalties."""
    scores_NV = logits_NV
    for edits_N, operation in (
        ([c.biases for c in sequences], torch.add),
        ([c.bans for c in sequences], torch.minimum),
        ([c.repetition_penalties for c in sequences], _penalized),
        ([c.penalties for c in sequences], torch.sub),
    ):
        scores_NV = _edited(scores_NV, logits_NV, edits_N, operation)
    return scores_NV


def _edited(
    scores_NV: torch.Tensor,
    logits_NV: torch.Tensor,
    edits_N: Sequence[Edits],
    operation: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """The scores after an operation on each row's edits; a copy if they still are the logits."""
    counts_N = np.array([len(edits.token_ids) for edits in edits_N])
    if not counts_N.any():
        return scores_NV
    ids_C = np.concatenate([edits.token_ids for edits in edits_N])
    rows_C = np.repeat(np.arange(len(edits_N)), counts_N)
    cells_2C = torch.from_numpy(np.stack([rows_C, ids_C])).to(scores_NV.device)
    values_C = torch.from_numpy(np.concatenate([edits.values for edits in edits_N]))
    if scores_NV is logits_NV:
        scores_NV = scores_NV.clone()
    cells = (cells_2C[0], cells_2C[1])
    scores_NV[cells] = operation(scores_NV[cells], values_C.to(scores_NV))
    return scores_NV


def _penalized(scores_C: torch.Tensor, penalties_C: torch.Tensor) -> torch.Tensor:
    return torch.where(scores_C > 0, scores_C / penalties_C, scores_C * penalties_C)
