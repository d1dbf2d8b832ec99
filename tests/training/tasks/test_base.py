"""Splits, and grading many answers at once."""

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence

import pytest
from anytime_training.demo.chain.task import ChainTask
from anytime_training.tasks import Problem, Split, draw_distinct, grade_all, split_of
from hypothesis import given
from hypothesis import strategies as st

shares = st.floats(0, 0.5)


class Recorder:
    """Grades a text equal to the answer as right; records the thread of each grading."""

    def __init__(self, seconds: float = 0) -> None:
        self.seconds = seconds
        self.graded: list[tuple[str, str, str]] = []
        self.threads: set[int] = set()

    def sample(self, rng: random.Random, split: Split = "train") -> Problem:
        raise NotImplementedError

    def grade(self, problem: Problem, answer_text: str) -> bool:
        time.sleep(self.seconds)
        self.graded.append((problem.content, problem.answer, answer_text))
        self.threads.add(threading.get_ident())
        return answer_text == problem.answer


def problem(content: str, answer: str) -> Problem:
    return Problem(content=content, prompt=content, answer=answer)


def test_shares_are_kept() -> None:
    counts = Counter(split_of(f"{number}") for number in range(20_000))
    assert 0.09 < counts["test"] / 20_000 < 0.11
    assert 0.045 < counts["validation"] / 20_000 < 0.055


@given(st.text(st.characters(exclude_categories=())), shares, shares, shares)
def test_the_test_split_does_not_depend_on_the_validation_share(
    content: str, test_share: float, one: float, other: float
) -> None:
    first, second = (
        split_of(content, test_share=test_share, validation_share=share) == "test" for share in (one, other)
    )
    assert first == second


@given(st.text(), shares, shares, shares)
def test_a_wider_share_only_takes_from_training(content: str, test: float, one: float, other: float) -> None:
    narrow, wide = sorted((one, other))
    if split_of(content, test_share=test, validation_share=narrow) != "train":
        assert split_of(content, test_share=test, validation_share=wide) != "train"


def test_validation_split_left_the_test_split_unchanged() -> None:
    assert [number for number in range(60) if split_of(f"2+{number}") == "test"][:1] == [7]
    assert split_of("2+0", test_share=0, validation_share=0) == "train"
    assert split_of("2+0", test_share=0, validation_share=1) == "validation"
    assert split_of("2+0", test_share=1, validation_share=0) == "test"


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_chains_are_in_the_requested_split(split: Split) -> None:
    rng = random.Random(0)
    assert {split_of(ChainTask().sample(rng, split).content) for _ in range(100)} == {split}


class Dice(Recorder):
    """Draws one of `count` numbers, each in a new wording."""

    def __init__(self, sides: int) -> None:
        super().__init__()
        self.sides = sides

    def sample(self, rng: random.Random, split: Split = "train") -> Problem:
        number = rng.randrange(self.sides)
        return Problem(content=f"{split} {number}", prompt=f"{rng.random()}", answer="")


class Listed(Dice):
    """Lists its problems, each twice; must not be sampled."""

    def sample(self, rng: random.Random, split: Split = "train") -> Problem:
        raise AssertionError

    def problems(self, split: Split) -> Sequence[Problem]:
        return [problem(f"{split} {number}", answer) for number in range(self.sides) for answer in "ab"]


def test_a_repeat_is_skipped_and_the_next_drawn() -> None:
    rng = random.Random(1)
    draws = [Dice(30).sample(rng, "test") for _ in range(200)]
    firsts = [
        one for number, one in enumerate(draws) if one.content not in {d.content for d in draws[:number]}
    ]
    drawn = draw_distinct(Dice(30), 20, random.Random(1), "test")
    assert drawn == firsts[:20]
    assert drawn != draws[:20]


@pytest.mark.parametrize("task", [Dice(6), Listed(6)])
def test_draws_end_when_there_are_no_more_distinct_problems(task: Dice) -> None:
    drawn = draw_distinct(task, 50, random.Random(0), "validation")
    assert sorted(one.content for one in drawn) == [f"validation {number}" for number in range(6)]
    assert len(draw_distinct(task, 4, random.Random(0), "validation")) == 4


def test_every_problem_of_a_list_is_equally_likely() -> None:
    counts = Counter(
        one.content for seed in range(600) for one in draw_distinct(Listed(6), 2, random.Random(seed), "test")
    )
    assert len(counts) == 6
    assert all(150 < count < 250 for count in counts.values())


@given(
    st.lists(st.tuples(st.sampled_from("pq"), st.sampled_from("12"), st.sampled_from("123"))),
    st.integers(0, 3),
)
def test_verdicts_keep_their_order_and_equal_pairs_are_graded_once(
    given: list[tuple[str, str, str]], num_threads: int
) -> None:
    task = Recorder()
    pairs = [(problem(content, answer), text) for content, answer, text in given]
    verdicts = grade_all(task, pairs, num_threads=num_threads)
    assert verdicts == [answer == text for _, answer, text in given]
    assert sorted(task.graded) == sorted(set(given))


def test_slow_grading_is_spread_over_threads_and_quick_grading_is_not() -> None:
    pairs = [(problem(f"{number}", f"{number % 2}"), "1") for number in range(12)]
    quick, slow, alone = Recorder(), Recorder(0.03), Recorder(0.03)
    expected = [bool(number % 2) for number in range(12)]
    assert grade_all(quick, pairs, num_threads=4) == expected
    assert grade_all(slow, pairs, num_threads=4) == expected
    assert grade_all(alone, pairs[:3], num_threads=1) == expected[:3]
    assert quick.threads == alone.threads == {threading.get_ident()}
    assert len(slow.threads) == 5


def test_grader_exceptions_are_not_swallowed() -> None:
    class Broken(Recorder):
        def grade(self, problem: Problem, answer_text: str) -> bool:
            super().grade(problem, answer_text)
            raise RuntimeError("broken")

    for seconds in (0, 0.03):
        with pytest.raises(RuntimeError, match="broken"):
            grade_all(Broken(seconds), [(problem("a", "1"), "1"), (problem("b", "1"), "1")], num_threads=2)
