"""Trees of tokens packed into rows: the thinking of a rollout, and the answers that branch off it.

Owns the layout of a row, its attention mask, and the conversion to flat rows. Knows no model and no
algorithm: tokens come with their advantages.

    row        [ trunk 0 | branch 1 | branch 2 | trunk 0 | branch 1 | padding ]
    tree         0         0          0          1         1          -1
    branch       0         1          2          0         1           0

A trunk is a prompt and its thinking. A branch attends to the trunk up to its truncation, then to itself; its
positions continue from the truncation, not from its offset in the row. Labels are the row shifted by one,
which is right because every segment begins with a token that is not learned.

Dimensions: R rows, T tokens of a row, N learned tokens of all rows, row by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

MAX_NUMBERED_TOKENS = 2**24
"""Numbers below this are exact in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Consecutive tokens and what is trained on them. All four fields have the same length."""

    ids: Sequence[int]
    """Token ids. The first must not be learned: nothing in its segment predicts it."""
    learned: Sequence[bool]
    """Whether each token was sampled, and trains the model."""
    advantages: Sequence[float]
    """Advantage of each learned token; 0 for others."""
    sampler_logprobs: Sequence[float]
    """The sampler's log-probability of each learned token at temperature 1; 0 for others."""

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

    @classmethod
    def after(
        cls,
        given_ids: Sequence[int],
        ids: Sequence[int],
        *,
        advantages: Sequence[float],
        learned: Sequence[bool] | None = None,
        logprobs: Sequence[float] | None = None,
    ) -> Segment:
        """Given tokens, which are not learned, then `ids`, which are all learned without `learned`.

        The other arguments are for `ids` alone. Without `logprobs` they are 0.
        """
        num_given = len(given_ids)
        return cls(
            ids=[*given_ids, *ids],
            learned=[False] * num_given + ([True] * len(ids) if learned is None else list(learned)),
            advantages=[0.0] * num_given + list(advantages),
            sampler_logprobs=[0.0] * num_given + ([0.0] * len(ids) if logprobs is None else list(logprobs)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """The answer after a truncation: the inserted tokens, then the sampled ones."""

    segment: Segment
    """Begins with at least one inserted token."""
    num_visible: int
    """Tokens of the trunk that the branch attends to: the prompt and the truncated thinking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One rollout."""

    trunk: Segment
    """The prompt and the whole thinking."""
    branches: tuple[Branch, ...] = ()
    """Answers in any order; several may follow the same truncation."""

    def __post_init__(self) -> None:
        for branch in self.branches:
            if not 1 <= branch.num_visible <= len(self.trunk):
                raise ValueError(f"num_visible={branch.num_visible} of a trunk of {len(self.trunk)} tokens")

    def __len__(self) -> int:
        return len(self.trunk) + sum(len(branch.segment) for branch in self.branches)


def flatten(tree: Tree) -> list[Tree]:
    """The same tree without sharing: the trunk, and each branch with its own copy of the tokens before it.

    Each learned token is learned in exactly one of them, so training on them gives the same gradient.
    """
    flat = [Tree(trunk=tree.trunk)]
    for branch in tree.branches:
        visible, own = branch.num_visible, branch.segment
        trunk = Segment(
            ids=[*tree.trunk.ids[:visible], *own.ids],
            learned=[*[False] * visible, *own.learned],
            advantages=[*[0.0] * visible, *own.advantages],
            sampler_logprobs=[*[0.0] * visible, *own.sampler_logprobs],
        )
        flat.append(Tree(trunk=trunk))
    return flat


def numbered(trees: Sequence[Tree]) -> list[Tree]:
    """The same trees, with each learned token's number in place of its advantage.

    Learned tokens are numbered from 0 through all trees: a tree's trunk first, then its branches. A forward
    pass over packed rows, which are in another order, can thus name the tokens of its results.

    Raises:
        ValueError: more tokens than float32, the type of packed advantages, can number.
    """
    number = 0

    def with_numbers(segment: Segment) -> Segment:
        nonlocal number
        numbers: list[float] = []
        for is_learned in segment.learned:
            numbers.append(float(number) if is_learned else 0.0)
            number += is_learned
        return replace(segment, advantages=numbers)

    with_all = [
        Tree(
            trunk=with_numbers(tree.trunk),
            branches=tuple(replace(branch, segment=with_numbers(branch.segment)) for branch in tree.branches),
        )
        for tree in trees
    ]
    if number > MAX_NUMBERED_TOKENS:
        raise ValueError(f"{number} learned tokens are too many to number")
    return with_all


def attends(
    tree_RT: Tensor, branch_RT: Tensor, visible_end_RT: Tensor, row: Any, query: Any, key: Any
) -> Tensor:
    """Whether the token at `query` attends to the token at `key`: the only definition of the mask.

    Takes indices of any shapes that broadcast, for the whole mask as well as for the pointwise function that
    FlexAttention compiles. Padding attends to itself and to the padding before it: a query that attends to
    nothing would give NaN.
    """
    same_tree = tree_RT[row, query] == tree_RT[row, key]
    own = (branch_RT[row, query] == branch_RT[row, key]) & (key <= query)
    trunk = (branch_RT[row, key] == 0) & (key < visible_end_RT[row, query])
    return same_tree & (own | trunk)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedTokens:
    """Inputs of the loss, for the learned tokens of some rows."""

    advantages_N: Tensor
    """Advantages."""
    sampler_logprobs_N: Tensor
    """The sampler's log-probabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedRows:
    """Trees in rows, padded at the right to the length of the longest row."""

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
    """For a branch, the offset in the row up to which it attends to the trunk; 0 elsewhere."""
    multiple_of: int
    """T is a multiple of this."""

    @property
    def num_tokens_R(self) -> Tensor:
        """Tokens of each row, without padding."""
        return (self.tree_RT >= 0).sum(-1)

    def mask_RTT(self) -> Tensor:
        """True where a query (second dimension) attends to a key (third)."""
        num_rows, length = self.ids_RT.shape
        row = torch.arange(num_rows, device=self.ids_RT.device)[:, None, None]
        token = torch.arange(length, device=self.ids_RT.device)
        return attends(
            self.tree_RT, self.branch_RT, self.visible_end_RT, row, token[None, :, None], token[None, None, :]
        )

    def learned_tokens(self) -> LearnedTokens:
        """Inputs of the loss for the learned tokens, row by row."""
        return LearnedTokens(
            advantages_N=self.advantages_RT[self.learned_RT],
            sampler_logprobs_N=self.sampler_logprobs_RT[self.learned_RT],
        )

    def to(self, device: torch.device | str) -> PackedRows:
        """The same rows on a device."""
        return replace(self, **{name: tensor.to(device) for name, tensor in self._tensors()})

    def micro_batches(self, max_tokens: int) -> Iterator[PackedRows]:
        """Batches of rows of similar length, each of at most `max_tokens` with padding.

        The longest rows come first, so that memory runs out in the first batch or not at all. A row longer
        than `max_tokens` is a batch of its own.
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
        row_tokens: the most tokens in a row. A longer tree gets a row of its own.
        pad_id: any id of the vocabulary.
        multiple_of: the rows' length is a multiple of this; divides `row_tokens`.
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
        for row_T, unpadded in zip(padded_RT, columns, strict=True):
            values = getattr(unpadded, name)
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
    """The values of one row, without padding."""

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
                visible = branch.num_visible
                self._append(
                    branch.segment, tree=number, branch=k, position=visible, visible_end=start + visible
                )

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
