"""Trees of tokens packed into rows: one thinking, and the answers that branch off it.

Owns the layout of a row, who sees whom in it, and the way back to flat rows. Knows no model
and no algorithm: advantages come in with the tokens.

    row        [ trunk 0 | branch 1 | branch 2 | trunk 0 | branch 1 | padding ]
    tree         0         0          0          1         1          -1
    branch       0         1          2          0         1           0

A trunk is a prompt and its thinking. A branch saw the trunk up to its cut, then itself; its
positions go on from the cut, not from where it lies in the row. Labels are the row shifted by
one: right, because every segment begins with a token that is not learned.

Dimensions: R rows, T tokens of a row, N learned tokens of all rows, row by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Tokens in a line, with what is to be learned of them. All four are of the same length."""

    ids: Sequence[int]
    """Token ids. The first must not be learned: nothing in its segment predicts it."""
    learned: Sequence[bool]
    """Whether each token was sampled, and trains the model."""
    advantages: Sequence[float]
    """What each learned token was worth; 0 for others."""
    sampler_logprobs: Sequence[float]
    """What the sampler said of each learned token at temperature 1; 0 for others."""

    def __post_init__(self) -> None:
        lengths = {len(self.ids), len(self.learned), len(self.advantages), len(self.sampler_logprobs)}
        if len(lengths) > 1:
            raise ValueError("ids, learned, advantages and sampler_logprobs differ in length")
        if len(self.ids) == 0:
            raise ValueError("a segment needs a token")
        if self.learned[0]:
            raise ValueError("the first token of a segment must not be learned: nothing predicts it")
        for learned, advantage, logprob in zip(
            self.learned, self.advantages, self.sampler_logprobs, strict=True
        ):
            if not learned and (advantage or logprob):
                raise ValueError("a token that is not learned must have advantage and logprob 0")

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """What was said after a cut: the inserted tokens, then the sampled answer."""

    segment: Segment
    """At least one inserted token first."""
    num_visible: int
    """How many tokens of the trunk it goes on from: the prompt and the thinking that was kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One rollout."""

    trunk: Segment
    """The prompt and the whole thinking."""
    branches: tuple[Branch, ...] = ()
    """In any order; several may go on from the same cut."""

    def __post_init__(self) -> None:
        for branch in self.branches:
            if not 1 <= branch.num_visible <= len(self.trunk):
                raise ValueError(f"num_visible={branch.num_visible} of a trunk of {len(self.trunk)} tokens")

    def __len__(self) -> int:
        return len(self.trunk) + sum(len(branch.segment) for branch in self.branches)


def flatten(tree: Tree) -> list[Tree]:
    """The same tree without sharing: the trunk, and each branch with its own copy of what it saw.

    Each learned token is learned in one of them, so that training on them comes to the same.
    """
    flat = [Tree(trunk=tree.trunk)]
    for branch in tree.branches:
        seen, own = branch.num_visible, branch.segment
        trunk = Segment(
            ids=[*tree.trunk.ids[:seen], *own.ids],
            learned=[*[False] * seen, *own.learned],
            advantages=[*[0.0] * seen, *own.advantages],
            sampler_logprobs=[*[0.0] * seen, *own.sampler_logprobs],
        )
        flat.append(Tree(trunk=trunk))
    return flat


def sees(
    tree_RT: Tensor, branch_RT: Tensor, visible_end_RT: Tensor, row: Any, query: Any, key: Any
) -> Tensor:
    """Whether the token at `query` attends to the one at `key`: the one place that says so.

    Takes indices of any shapes that broadcast, so that it makes a whole mask as well as the
    pointwise function that FlexAttention compiles. Padding sees the padding before it and
    itself: a query that sees nothing would give NaN.
    """
    same_tree = tree_RT[row, query] == tree_RT[row, key]
    own = (branch_RT[row, query] == branch_RT[row, key]) & (key <= query)
    trunk = (branch_RT[row, key] == 0) & (key < visible_end_RT[row, query])
    return same_tree & (own | trunk)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedTokens:
    """What came in with the learned tokens of some rows."""

    advantages_N: Tensor
    """Advantages."""
    sampler_logprobs_N: Tensor
    """The sampler's log-probabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedRows:
    """Trees in rows, padded at the right to the length of the longest."""

    ids_RT: Tensor
    """Token ids."""
    positions_RT: Tensor
    """Positions for the rotary embedding; 0 for padding."""
    learned_RT: Tensor
    """True where the token trains the model."""
    advantages_RT: Tensor
    """Advantages; 0 where nothing is learned."""
    sampler_logprobs_RT: Tensor
    """The sampler's log-probabilities; 0 where nothing is learned."""
    tree_RT: Tensor
    """Number of the tree within its row; -1 for padding."""
    branch_RT: Tensor
    """0 for the trunk, k for the tree's k-th branch."""
    visible_end_RT: Tensor
    """For a branch, the place in the row where its view of the trunk ends; 0 elsewhere."""
    multiple_of: int
    """T is a multiple of this."""

    @property
    def num_tokens_R(self) -> Tensor:
        """Tokens of each row, padding not counted."""
        return (self.tree_RT >= 0).sum(-1)

    def mask_RTT(self) -> Tensor:
        """True where a query (second dimension) attends to a key (third)."""
        num_rows, length = self.ids_RT.shape
        row = torch.arange(num_rows, device=self.ids_RT.device)[:, None, None]
        place = torch.arange(length, device=self.ids_RT.device)
        return sees(
            self.tree_RT, self.branch_RT, self.visible_end_RT, row, place[None, :, None], place[None, None, :]
        )

    def learned_tokens(self) -> LearnedTokens:
        """What came in with the learned tokens, row by row."""
        return LearnedTokens(
            advantages_N=self.advantages_RT[self.learned_RT],
            sampler_logprobs_N=self.sampler_logprobs_RT[self.learned_RT],
        )

    def to(self, device: torch.device | str) -> PackedRows:
        """The same rows on a device."""
        return replace(self, **{name: tensor.to(device) for name, tensor in self._tensors()})

    def micro_batches(self, max_tokens: int) -> Iterator[PackedRows]:
        """Rows of like length together, at most `max_tokens` at a time with their padding.

        The longest come first, so that memory runs out at once or not at all. A row that is
        longer than `max_tokens` comes alone.
        """
        lengths = [_round_up(length, self.multiple_of) for length in self.num_tokens_R.tolist()]
        order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
        while order:
            longest = lengths[order[0]]
            num_rows = max(1, max_tokens // longest)
            batch, order = order[:num_rows], order[num_rows:]
            yield replace(self, **{name: tensor[batch, :longest] for name, tensor in self._tensors()})

    def _tensors(self) -> list[tuple[str, Tensor]]:
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return [(name, value) for name, value in values if isinstance(value, Tensor)]


def pack(trees: Sequence[Tree], *, row_tokens: int, pad_id: int, multiple_of: int = 1) -> PackedRows:
    """Put trees into rows: first-fit decreasing.

    Args:
        row_tokens: the most tokens in a row. A tree that is longer gets a row for itself.
        pad_id: any id that the model knows.
        multiple_of: rows are as long as a multiple of this; divides `row_tokens`.
    """
    if not trees:
        raise ValueError("there must be a tree to pack")
    if row_tokens < 1 or multiple_of < 1 or row_tokens % multiple_of:
        raise ValueError(f"row_tokens={row_tokens} must be a positive multiple of multiple_of={multiple_of}")
    rows: list[list[Tree]] = []
    room: list[int] = []
    for tree in sorted(trees, key=lambda tree: -len(tree)):
        row = next((row for row, free in enumerate(room) if free >= len(tree)), None)
        if row is None:
            row = len(rows)
            rows.append([])
            room.append(row_tokens)
        rows[row].append(tree)
        room[row] -= len(tree)
    length = _round_up(max(sum(map(len, row)) for row in rows), multiple_of)
    columns = [_Columns(row) for row in rows]

    def tensor(name: str, padding: float, dtype: torch.dtype) -> Tensor:
        padded_RT = torch.full((len(columns), length), padding, dtype=dtype)
        for row_T, of_row in zip(padded_RT, columns, strict=True):
            values = getattr(of_row, name)
            row_T[: len(values)] = torch.tensor(values, dtype=dtype)
        return padded_RT

    return PackedRows(
        ids_RT=tensor("ids", pad_id, torch.long),
        positions_RT=tensor("positions", 0, torch.long),
        learned_RT=tensor("learned", False, torch.bool),
        advantages_RT=tensor("advantages", 0.0, torch.float32),
        sampler_logprobs_RT=tensor("sampler_logprobs", 0.0, torch.float32),
        tree_RT=tensor("tree", -1, torch.int32),
        branch_RT=tensor("branch", 0, torch.int32),
        visible_end_RT=tensor("visible_end", 0, torch.int32),
        multiple_of=multiple_of,
    )


class _Columns:
    """What one row holds, without padding."""

    def __init__(self, trees: Sequence[Tree]) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.learned: list[bool] = []
        self.advantages: list[float] = []
        self.sampler_logprobs: list[float] = []
        self.tree: list[int] = []
        self.branch: list[int] = []
        self.visible_end: list[int] = []
        for number, tree in enumerate(trees):
            start = len(self.ids)
            self._append(tree.trunk, tree=number, branch=0, position=0, visible_end=0)
            for k, branch in enumerate(tree.branches, start=1):
                seen = branch.num_visible
                self._append(branch.segment, tree=number, branch=k, position=seen, visible_end=start + seen)

    def _append(self, segment: Segment, *, tree: int, branch: int, position: int, visible_end: int) -> None:
        self.ids += segment.ids
        self.positions += range(position, position + len(segment))
        self.learned += segment.learned
        self.advantages += segment.advantages
        self.sampler_logprobs += segment.sampler_logprobs
        self.tree += [tree] * len(segment)
        self.branch += [branch] * len(segment)
        self.visible_end += [visible_end] * len(segment)


def _round_up(length: int, multiple_of: int) -> int:
    return -(-length // multiple_of) * multiple_of
