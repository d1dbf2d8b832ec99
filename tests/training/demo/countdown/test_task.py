"""The countdown task: prompts, splits, and answers as text or JSON."""

import json
import random
import re

import pytest
from anytime_training.demo.countdown.task import CountdownTask
from anytime_training.errors import RecipeError
from anytime_training.tasks import split_of
from pydantic import ValidationError

TASK = CountdownTask()
PLAIN, AS_JSON = CountdownTask(json_share=0), CountdownTask(json_share=1)


def test_problems_have_their_numbers_target_and_solutions() -> None:
    rng = random.Random(0)
    for _ in range(200):
        problem = TASK.sample(rng)
        stated = sorted(map(int, re.findall(r"\d+", problem.prompt)))
        assert stated == sorted([*problem.numbers, problem.target])
        assert all(2 <= number <= 15 for number in problem.numbers)
        assert 20 <= problem.target <= 99
        leading = {
            opening
            for opening in problem.openings
            for _, attempts in opening.branches()
            if problem.target in [attempt.value for attempt in attempts]
        }
        assert 1 <= len(leading) <= 2
        assert {solution.value for solution in problem.solutions} == {problem.target}
        assert ("json" in problem.prompt.lower()) == problem.as_json
        assert TASK.grade(problem, problem.answer)


@pytest.mark.parametrize("task", [PLAIN, AS_JSON])
def test_accepted_answers_are_accepted(task: CountdownTask) -> None:
    problem = task.sample(random.Random(3))
    answers = task.accepted_answers(problem)
    assert answers
    assert problem.answer in answers
    assert all(task.grade(problem, answer) for answer in answers)


def test_json_needs_both_fields_with_right_values() -> None:
    problem = AS_JSON.sample(random.Random(1))
    right = json.loads(problem.answer)
    assert AS_JSON.grade(problem, json.dumps(right, indent=2))
    for wrong in (
        right["expression"],
        json.dumps([right]),
        json.dumps({"expression": right["expression"]}),
        json.dumps(right | {"value": problem.target + 1}),
        json.dumps(right | {"value": str(problem.target)}),
        json.dumps(right | {"expression": 5}),
        json.dumps(right | {"more": 1}),
        "[" * 100_000,
    ):
        assert not AS_JSON.grade(problem, wrong)


def test_json_is_refused_where_it_was_not_asked_for() -> None:
    problem = PLAIN.sample(random.Random(1))
    assert not PLAIN.grade(problem, json.dumps({"expression": problem.answer, "value": problem.target}))


def test_splits_are_those_of_the_puzzle_in_any_order() -> None:
    rng = random.Random(2)
    for split in ("train", "validation", "test"):
        for _ in range(20):
            problem = TASK.sample(rng, split)
            numbers = ",".join(map(str, sorted(problem.numbers)))
            assert problem.content == f"{numbers}->{problem.target}"
            assert split_of(problem.content) == split


def test_sampling_depends_on_the_generator_alone() -> None:
    assert TASK.sample(random.Random(5)) == TASK.sample(random.Random(5))


def test_ranges_without_a_puzzle_are_refused() -> None:
    task = CountdownTask(min_number=2, max_number=2, min_target=99, max_target=99)
    with pytest.raises(RecipeError, match=r"task: of .* draws of numbers, none had a target"):
        task.sample(random.Random(0))


def test_ranges_must_not_be_empty() -> None:
    with pytest.raises(ValidationError, match="min_number must not be above max_number"):
        CountdownTask(min_number=9, max_number=8)
