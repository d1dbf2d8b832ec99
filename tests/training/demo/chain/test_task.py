"""The chain task: problems, splits and grading."""

import random
from collections import Counter

import pytest
from anytime_training.demo.arithmetic import Operation, Step
from anytime_training.demo.chain.chain import Chain
from anytime_training.demo.chain.task import ChainProblem, ChainTask
from anytime_training.tasks import split_of
from hypothesis import given
from hypothesis import strategies as st

TASK = ChainTask()
PROBLEM = ChainProblem(
    content="7-3",
    prompt="7 - 3",
    answer="4",
    wording="bare",
    chain=Chain(start=7, steps=(Step(operation=Operation.MINUS, operand=3),)),
)


@pytest.mark.parametrize("text", ["4", " 4", "4\n", "4.", " 4 . ", "4!", "4 ?"])
def test_grade_accepts_the_answer_within_white_space_and_end_punctuation(text: str) -> None:
    assert TASK.grade(PROBLEM, text)


@pytest.mark.parametrize("text", ["", "5", "44", "4 4", "-4", "4 or 5", "four", "٤", "."])
def test_grade_refuses_all_else(text: str) -> None:
    assert not TASK.grade(PROBLEM, text)


@given(st.text())
def test_grade_never_raises(text: str) -> None:
    assert TASK.grade(PROBLEM, text) in (True, False)


def test_splits_share_no_content() -> None:
    small = ChainTask(min_operands=2, max_operands=2)
    train, test = (
        {small.sample(random.Random(seed), split=split).content for seed in range(3000)}
        for split in ("train", "test")
    )
    assert train
    assert test
    assert not train & test


def test_split_follows_content_and_keeps_a_tenth() -> None:
    splits = Counter(split_of(f"{number}") for number in range(20_000))
    assert 0.09 < splits["test"] / 20_000 < 0.11
    # Splits are the same on every machine: else a problem trained on elsewhere could be held out here.
    assert [number for number in range(10) if split_of(f"2+{number}") == "test"] == [7]
    assert [number for number in range(10) if split_of(f"4+{number}") == "test"] == [3]


def test_sampled_problems_are_in_the_requested_split() -> None:
    rng = random.Random(0)
    for split in ("train", "test"):
        assert {split_of(TASK.sample(rng, split=split).content) for _ in range(200)} == {split}


def test_answers_are_about_uniform() -> None:
    rng = random.Random(1)
    counts = Counter(TASK.sample(rng).answer for _ in range(10_000))
    assert len(counts) == 10
    assert min(counts.values()) > 800
    assert max(counts.values()) < 1250


def test_lengths_cover_the_whole_range() -> None:
    rng = random.Random(2)
    lengths = {len(TASK.sample(rng).chain.steps) + 1 for _ in range(1000)}
    assert lengths == set(range(4, 13))


def test_sampling_depends_on_the_generator_alone() -> None:
    assert [TASK.sample(random.Random(5)) for _ in range(3)] == [TASK.sample(random.Random(5))] * 3


def test_answer_is_the_last_value() -> None:
    rng = random.Random(3)
    for _ in range(100):
        problem = TASK.sample(rng)
        assert problem.answer == str(problem.chain.values[-1])
        assert problem.content == problem.chain.content
