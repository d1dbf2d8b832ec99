"""Search traces, read by an evaluator that shares no code with them."""

import random
import re
from itertools import pairwise

import pytest
from anytime_training.demo.countdown.task import CountdownProblem, CountdownTask
from anytime_training.demo.countdown.traces import NEAR, SearchMix
from anytime_training.demo.written import Trace

TASK = CountdownTask(json_share=0)


def drawn(count: int, mix: SearchMix, seed: int = 0) -> list[tuple[CountdownProblem, Trace]]:
    rng = random.Random(seed)
    problems = [TASK.sample(rng) for _ in range(count)]
    return [(problem, mix.sample(problem, rng)) for problem in problems]


def evaluate(attempt: str) -> int:
    """Its value, step by step from left to right."""
    first, *steps = re.findall(r"(?:^|[-+x] )\d+", attempt)
    value = int(first)
    for step in steps:
        sign, number = step.split()
        value = {"+": value + int(number), "-": value - int(number), "x": value * int(number)}[sign]
    return value


def test_attempts_are_right_and_end_with_the_verdict() -> None:
    for problem, trace in drawn(300, SearchMix()):
        opening, _, rest = trace.text.partition("; ")
        style = opening.removesuffix(f": target = {problem.target}")
        assert style in ("Big", "Small", "Quick")
        attempts = re.findall(r"([^;!:.]+) (low|high|near|yes|right)[;!.]? ?", rest)
        assert attempts
        for text, verdict in attempts:
            attempt = text.strip()
            results = [int(result) for result in re.findall(r"= (\d+)", attempt)]
            assert evaluate(re.sub(r" = \d+", "", attempt)) == results[-1]
            assert len(results) == (1 if style == "Quick" and verdict != "right" else 3)
            numbers = [int(number) for number in re.findall(r"(?:^|[-+x] )(\d+)", attempt)]
            assert sorted(numbers) == sorted(problem.numbers)
            far = "low" if results[-1] < problem.target else "high"
            distance = abs(results[-1] - problem.target)
            expected = ("yes", "right") if distance == 0 else ("near",) if distance <= NEAR else (far,)
            assert verdict in expected


def test_first_operation_follows_the_style() -> None:
    first_of = {"Big": set[str](), "Small": set[str](), "Quick": set[str]()}
    for _, trace in drawn(300, SearchMix()):
        opening, _, rest = trace.text.partition("; ")
        first_of[opening.partition(":")[0]].add(rest.split()[1])
    assert first_of["Quick"] == {"+", "-", "x"}
    assert first_of["Small"] >= {"+", "-"}
    assert "x" in first_of["Big"]


def test_answer_is_the_latest_solution_else_the_latest_near_attempt_else_the_latest() -> None:
    for _, trace in drawn(200, SearchMix()):
        best, best_distance = None, 10_000
        for before, passage in pairwise(trace.passages):
            assert passage.is_conclusion == (passage.answer is not None)
            if passage.answer is None:
                continue
            distance = {"low;": 2, "high;": 2, "near;": 1, "yes!": 0}[passage.text.strip()]
            if distance <= best_distance:
                best, best_distance = evaluate(re.sub(r" = \d+", "", before.text)), distance
            assert eval(passage.answer.replace("x", "*")) == best
        assert trace.first_answer == next(p.answer for p in trace.passages if p.answer)


@pytest.mark.parametrize(("share", "expected"), [(0.0, False), (1.0, True)])
def test_thinking_ends_after_that_share_of_the_checks(share: float, expected: bool) -> None:
    solved = [trace for _, trace in drawn(200, SearchMix(stop_share=share)) if "yes!" in trace.text]
    assert len(solved) > 50
    ends_at_once = [trace.text.count("yes!") == 1 and trace.text.endswith("right.") for trace in solved]
    assert sum(ends_at_once) > 0.9 * len(solved) if expected else sum(ends_at_once) < 0.2 * len(solved)


def test_no_attempt_occurs_twice_and_there_are_few_enough() -> None:
    for _, trace in drawn(200, SearchMix(max_attempts=9)):
        attempts = [before.text for before, verdict in pairwise(trace.passages) if verdict.answer]
        assert len(attempts) == len(set(attempts)) <= 12
