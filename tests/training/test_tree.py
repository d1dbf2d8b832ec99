"""Packing against hand-written rows, a slow mask, and properties of random trees."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
from anytime_training.tree import Branch, PackedRows, Segment, Tree, attends, flatten, pack
from hypothesis import given, settings
from hypothesis import strategies as st

PAD_ID = 99


def segment(*ids: int, first_learned: int = 1) -> Segment:
    """Tokens learned from `first_learned` on, with advantage id/10 and log-probability -id/100."""
    learned = [index >= first_learned for index in range(len(ids))]
    return Segment(
        ids=ids,
        learned=learned,
        advantages=[token / 10 * is_learned for token, is_learned in zip(ids, learned, strict=True)],
        sampler_logprobs=[-token / 100 * is_learned for token, is_learned in zip(ids, learned, strict=True)],
    )


SMALL = Tree(trunk=segment(1, 2, 3, 4), branches=(Branch(segment=segment(5, 6), num_visible=2),))
LARGE = Tree(
    trunk=segment(10, 11, 12, first_learned=2),
    branches=(
        Branch(segment=segment(13, 14, 15), num_visible=3),
        Branch(segment=segment(16, 17), num_visible=1),
    ),
)


def random_trees(seed: int, *, vocab_size: int = PAD_ID) -> list[Tree]:
    """Trees whose learned tokens all differ in advantage."""
    rng = random.Random(seed)

    def make_segment(num_fixed: int, num_learned: int) -> Segment:
        learned = [False] * num_fixed + [rng.random() < 0.9 for _ in range(num_learned)]
        return Segment(
            ids=[rng.randrange(vocab_size) for _ in learned],
            learned=learned,
            advantages=[rng.gauss(0, 1) if is_learned else 0.0 for is_learned in learned],
            sampler_logprobs=[-rng.expovariate(0.3) if is_learned else 0.0 for is_learned in learned],
        )

    trees = []
    for _ in range(rng.randrange(1, 6)):
        trunk = make_segment(rng.randrange(1, 4), rng.randrange(0, 12))
        lengths = [rng.randrange(1, len(trunk) + 1) for _ in range(rng.randrange(4))]
        branches = tuple(
            Branch(segment=make_segment(rng.randrange(1, 3), rng.randrange(0, 5)), num_visible=length)
            for length in lengths
            for _ in range(rng.randrange(1, 3))
        )
        trees.append(Tree(trunk=trunk, branches=branches))
    return trees


def slow_mask(rows: PackedRows) -> torch.Tensor:
    """The mask by walking each row's trees: it shares nothing with `attends` but the columns."""
    num_rows, length = rows.ids_RT.shape
    mask = torch.zeros(num_rows, length, length, dtype=torch.bool)
    for row in range(num_rows):
        tree, branch, end = (
            column[row].tolist() for column in (rows.tree_RT, rows.branch_RT, rows.visible_end_RT)
        )
        for query in range(length):
            for key in range(query + 1):
                if tree[key] != tree[query]:
                    continue
                if branch[query] == branch[key]:
                    mask[row, query, key] = True
                elif branch[key] == 0:
                    mask[row, query, key] = key < end[query]
    return mask


def test_a_row_by_hand() -> None:
    rows = pack([SMALL, LARGE], row_tokens=16, pad_id=PAD_ID, multiple_of=8)
    assert rows.ids_RT.tolist() == [[10, 11, 12, 13, 14, 15, 16, 17, 1, 2, 3, 4, 5, 6, PAD_ID, PAD_ID]]
    assert rows.positions_RT.tolist() == [[0, 1, 2, 3, 4, 5, 1, 2, 0, 1, 2, 3, 2, 3, 0, 0]]
    assert rows.tree_RT.tolist() == [[0] * 8 + [1] * 6 + [-1] * 2]
    assert rows.branch_RT.tolist() == [[0, 0, 0, 1, 1, 1, 2, 2, 0, 0, 0, 0, 1, 1, 0, 0]]
    assert rows.visible_end_RT.tolist() == [[0, 0, 0, 3, 3, 3, 1, 1, 0, 0, 0, 0, 10, 10, 0, 0]]
    learned_ids = [12, 14, 15, 17, 2, 3, 4, 6]
    assert rows.ids_RT[rows.learned_RT].tolist() == learned_ids
    tokens = rows.learned_tokens()
    torch.testing.assert_close(tokens.advantages_N, torch.tensor(learned_ids) / 10)
    torch.testing.assert_close(tokens.sampler_logprobs_N, -torch.tensor(learned_ids) / 100)
    assert rows.num_tokens_R.tolist() == [14]


def test_the_mask_by_hand() -> None:
    rows = pack([LARGE], row_tokens=9, pad_id=PAD_ID, multiple_of=9)
    drawn = [
        "x........",
        "xx.......",
        "xxx......",
        "xxxx.....",
        "xxxxx....",
        "xxxxxx...",
        "x.....x..",
        "x.....xx.",
        "........x",
    ]
    assert rows.mask_RTT().tolist() == [[[mark == "x" for mark in line] for line in drawn]]


@pytest.mark.parametrize("seed", range(10))
def test_mask_equals_the_slow_reference(seed: int) -> None:
    rows = pack(random_trees(seed), row_tokens=64, pad_id=PAD_ID, multiple_of=16)
    assert torch.equal(rows.mask_RTT(), slow_mask(rows))


def test_pointwise_function_equals_the_mask() -> None:
    rows = pack(random_trees(3), row_tokens=32, pad_id=PAD_ID, multiple_of=8)
    mask = rows.mask_RTT()
    columns = (rows.tree_RT, rows.branch_RT, rows.visible_end_RT)
    rng = random.Random(0)
    for _ in range(500):
        row, query, key = (rng.randrange(size) for size in mask.shape)
        assert attends(*columns, row, query, key) == mask[row, query, key]


def test_flatten_by_hand() -> None:
    trunk, whole, short = flatten(LARGE)
    assert trunk == Tree(trunk=LARGE.trunk)
    assert list(whole.trunk.ids) == [10, 11, 12, 13, 14, 15]
    assert list(whole.trunk.learned) == [False] * 4 + [True] * 2
    assert list(whole.trunk.advantages) == [0, 0, 0, 0, 1.4, 1.5]
    assert list(whole.trunk.sampler_logprobs) == [0, 0, 0, 0, -0.14, -0.15]
    assert list(short.trunk.ids) == [10, 16, 17]
    assert not whole.branches


@given(seed=st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_a_token_attends_to_the_same_tokens_in_its_flat_row(seed: int) -> None:
    """The ids with positions that a learned token attends to, in the tree's row and in its flat row."""
    trees = random_trees(seed)

    def views(packed: PackedRows) -> Counter[tuple[object, ...]]:
        mask, counted = packed.mask_RTT(), Counter[tuple[object, ...]]()
        for row, token in packed.learned_RT.nonzero().tolist():
            visible = mask[row, token]
            view = zip(
                packed.ids_RT[row, visible].tolist(), packed.positions_RT[row, visible].tolist(), strict=True
            )
            counted[(packed.advantages_RT[row, token].item(), *view)] += 1
        return counted

    flat = [part for tree in trees for part in flatten(tree)]
    assert views(pack(trees, row_tokens=64, pad_id=PAD_ID)) == views(pack(flat, row_tokens=24, pad_id=PAD_ID))


@given(seed=st.integers(0, 10**6), row_multiples=st.integers(1, 12), multiple_of=st.sampled_from([1, 4, 8]))
@settings(max_examples=100, deadline=None)
def test_packing_loses_nothing(seed: int, row_multiples: int, multiple_of: int) -> None:
    trees = random_trees(seed)
    row_tokens = row_multiples * multiple_of
    rows = pack(trees, row_tokens=row_tokens, pad_id=PAD_ID, multiple_of=multiple_of)
    real_RT = rows.tree_RT >= 0
    segments = [part for tree in trees for part in (tree.trunk, *(one.segment for one in tree.branches))]
    assert Counter(rows.ids_RT[real_RT].tolist()) == Counter(token for part in segments for token in part.ids)
    wanted = [
        advantage
        for part in segments
        for advantage, learned in zip(part.advantages, part.learned, strict=True)
        if learned
    ]
    found_N = rows.learned_tokens().advantages_N.sort().values
    torch.testing.assert_close(found_N, torch.tensor(sorted(wanted), dtype=torch.float32), rtol=0, atol=0)
    assert (rows.ids_RT[~real_RT] == PAD_ID).all()
    assert not rows.learned_RT[~real_RT].any()
    assert rows.ids_RT.shape[1] % multiple_of == 0
    for row, num_tokens in enumerate(rows.num_tokens_R.tolist()):
        assert num_tokens <= row_tokens or set(rows.tree_RT[row].tolist()) <= {0, -1}


@given(seed=st.integers(0, 10**6), max_tokens=st.integers(1, 200))
@settings(max_examples=100, deadline=None)
def test_micro_batches_lose_nothing(seed: int, max_tokens: int) -> None:
    rows = pack(random_trees(seed), row_tokens=40, pad_id=PAD_ID, multiple_of=4)
    batches = list(rows.micro_batches(max_tokens))
    for batch in batches:
        num_rows, length = batch.ids_RT.shape
        assert num_rows * length <= max_tokens or num_rows == 1
        assert length % 4 == 0
        assert length - batch.num_tokens_R.max() < 4, "padded to more than its longest row"
    widths = [batch.ids_RT.shape[1] for batch in batches]
    assert widths == sorted(widths, reverse=True)

    def content(some: PackedRows) -> list[tuple[list[int], list[float]]]:
        return [
            (ids[:count].tolist(), advantages[:count].tolist())
            for ids, advantages, count in zip(some.ids_RT, some.advantages_RT, some.num_tokens_R, strict=True)
        ]

    assert sorted(part for batch in batches for part in content(batch)) == sorted(content(rows))


def test_first_fit_decreasing() -> None:
    trees = [Tree(trunk=segment(*[length] * length)) for length in (2, 3, 5, 6, 4)]
    rows = pack(trees, row_tokens=10, pad_id=PAD_ID)
    assert rows.ids_RT.tolist() == [[6] * 6 + [4] * 4, [5] * 5 + [3] * 3 + [2] * 2]


def test_a_tree_longer_than_a_row_is_alone() -> None:
    rows = pack([SMALL, LARGE, SMALL], row_tokens=4, pad_id=PAD_ID, multiple_of=4)
    assert rows.num_tokens_R.tolist() == [8, 6, 6]
    assert [batch.ids_RT.shape for batch in rows.micro_batches(1)] == [(1, 8)] * 3


def test_segments_are_checked() -> None:
    good = segment(1, 2)
    with pytest.raises(ValueError, match="length"):
        replace(good, ids=[1])
    with pytest.raises(ValueError, match="needs a token"):
        segment()
    with pytest.raises(ValueError, match="first token"):
        segment(1, 2, first_learned=0)
    with pytest.raises(ValueError, match="advantage and logprob 0"):
        replace(good, advantages=[0.5, 0.5])
    with pytest.raises(ValueError, match="advantage and logprob 0"):
        replace(good, sampler_logprobs=[-0.5, -0.5])


@pytest.mark.parametrize("num_visible", [0, 5])
def test_a_branch_must_start_within_the_trunk(num_visible: int) -> None:
    with pytest.raises(ValueError, match="num_visible"):
        Tree(trunk=segment(1, 2, 3, 4), branches=(Branch(segment=segment(5), num_visible=num_visible),))


def test_packing_is_checked() -> None:
    with pytest.raises(ValueError, match="must be a tree"):
        pack([], row_tokens=4, pad_id=PAD_ID)
    with pytest.raises(ValueError, match="multiple"):
        pack([SMALL], row_tokens=100, pad_id=PAD_ID, multiple_of=128)


def test_rows_and_their_mask_are_on_the_device_they_are_moved_to() -> None:
    """The meta device has no values, so mixing it with another device is an error."""
    rows = pack([SMALL, LARGE], row_tokens=16, pad_id=PAD_ID).to("meta")
    tokens = rows.learned_RT, rows.advantages_RT, rows.sampler_logprobs_RT
    columns = rows.ids_RT, rows.positions_RT, rows.tree_RT, rows.branch_RT, rows.visible_end_RT
    assert {tensor.device.type for tensor in (*tokens, *columns, rows.mask_RTT())} == {"meta"}
    assert rows.multiple_of == 1
