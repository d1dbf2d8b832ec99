"""Search traces, read by an evaluator that shares no code with them."""

import random
import re

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
        style, _, rest = trace.text.partition(": ")
        assert style in ("Big", "Small", "Quick")
        attempts = re.findall(r"([^;!:.]+) (no|near|yes|right)[;!.]? ?", rest)
        assert attempts
        for text, verdict in attempts:
            attempt = text.strip()
            results = [int(result) for result in re.findall(r"= (\d+)", attempt)]
            assert evaluate(re.sub(r" = \d+", "", attempt)) == results[-1]
            assert len(results) == (1 if style == "Quick" and verdict != "right" else 3)
            numbers = [int(number) for number in re.findall(r"(?:^|[-+x] )(\d+)", attempt)]
            assert sorted(numbers) == sorted(problem.numbers)
            distance = abs(results[-1] - problem.target)
            expected = "yes" if distance == 0 else "near" if distance <= NEAR else "no"
            assert verdict in (expected, "right")
            assert verdict != "right" or distance == 0


def test_first_operation_follows_the_style() -> None:
    first_of = {"Big": set[str](), "Small": set[str](), "Quick": set[str]()}
    for _, trace in drawn(300, SearchMix()):
        style, _, rest = trace.text.partition(": ")
        first_of[style].add(rest.split()[1])
    assert first_of["Quick"] == {"+", "-", "x"}
    assert first_of["Small"] >= {"+", "-"}
    assert "x" in first_of["Big"]


def test_answer_is_the_latest_solution_else_the_latest_near_attempt_else_the_latest() -> None:
    for _, trace in drawn(200, SearchMix()):
        best, best_distance = None, 10_000
        for passage in trace.passages:
            if passage.answer is None:
                continue
            verdict = passage.text.split()[-1]
            attempt = re.sub(r" = \d+", "", passage.text.rpartition(f" {verdict}")[0])
            distance = {"no;": 2, "near;": 1, "yes!": 0}[verdict]
            if distance <= best_distance:
                best, best_distance = evaluate(attempt), distance
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
        attempts = [passage.text.rpartition(" =")[0] for passage in trace.passages if passage.answer]
        assert len(attempts) == len(set(attempts)) <= 12
