"""Search traces, read by an evaluator that shares no code with them."""

import random
import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from anytime_training.demo.countdown.task import CountdownProblem, CountdownTask
from anytime_training.demo.countdown.traces import NEAR, SearchMix
from anytime_training.demo.written import Trace

TASK = CountdownTask(json_share=0)
SIGNS = {"+": int.__add__, "-": int.__sub__, "x": int.__mul__}


def drawn(count: int, mix: SearchMix, seed: int = 0) -> list[tuple[CountdownProblem, Trace]]:
    rng = random.Random(seed)
    problems = [TASK.sample(rng) for _ in range(count)]
    return [(problem, mix.sample(problem, rng)) for problem in problems]


def attempts_of(trace: str) -> Iterator[tuple[list[str], int, str]]:
    """Each attempt's steps, its value and its verdict; every written result is checked."""
    for line in trace.split("\n")[1:]:
        searched, _, check = line.partition(" Check: ")
        opening, _, rest = searched.partition(";")
        matched = re.fullmatch(r"(\d+) ([-+x]) (\d+) = (\d+)", opening)
        assert matched is not None
        first, sign, operand, result = matched.groups()
        value = SIGNS[sign](int(first), int(operand))
        assert value == int(result)
        second, second_step, steps = None, "", list[str]()
        for sign, operand, result, end in re.findall(
            r" ([-+x]) (\d+) = (\d+)(:| low| high| near| yes!)", rest
        ):
            before = value if end == ":" else second
            assert before is not None
            assert SIGNS[sign](before, int(operand)) == int(result)
            if end == ":":
                second, second_step = int(result), f"{sign} {operand}"
            else:
                first_step = opening.partition(" = ")[0].removeprefix(f"{first} ")
                steps = [first, first_step, second_step, f"{sign} {operand}"]
                yield steps, int(result), end.strip()
        if check:
            assert check.endswith(" right.")
            assert re.sub(r" = \d+", "", check.removesuffix(" right.")) == " ".join(steps)


def value_of(steps: list[str]) -> int:
    value = int(steps[0])
    for step in steps[1:]:
        sign, operand = step.split()
        value = SIGNS[sign](value, int(operand))
    return value


def test_every_attempt_is_right_uses_the_numbers_and_has_its_verdict() -> None:
    num_solved = 0
    for problem, trace in drawn(300, SearchMix()):
        for steps, value, verdict in attempts_of(trace.text):
            assert value_of(steps) == value
            used = [int(step.split()[-1]) for step in steps]
            assert sorted(used) == sorted(problem.numbers)
            distance = abs(value - problem.target)
            far = "low" if value < problem.target else "high"
            assert verdict == ("yes!" if distance == 0 else "near" if distance <= NEAR else far)
            num_solved += verdict == "yes!"
    assert num_solved > 100


def test_opening_line_names_style_and_target_and_may_repeat_the_numbers() -> None:
    styles, num_restated = set[str](), 0
    for problem, trace in drawn(300, SearchMix(restate_share=0.5)):
        line = trace.text.split("\n")[0]
        style, _, rest = line.partition(": ")
        styles.add(style)
        assert rest.endswith(f"target = {problem.target}")
        stated = [int(number) for number in re.findall(r"\d+", rest.removesuffix(str(problem.target)))]
        assert stated in ([], list(problem.numbers))
        num_restated += bool(stated)
    assert styles == {"Big", "Small", "Any"}
    assert 100 < num_restated < 200


def test_openings_that_suit_the_style_come_first() -> None:
    suits = {"Big": {"x"}, "Small": {"+", "-"}}
    seen = set[str]()
    for _, trace in drawn(300, SearchMix()):
        style, _, rest = trace.text.partition(": ")
        signs = [line.split()[1] for line in rest.split("\n")[1:]]
        if style != "Any":
            seen.add(style)
            assert signs == sorted(signs, key=lambda sign: sign not in suits[style])
        else:
            seen.add("x".join(signs))
    assert len(seen) > 20


def test_answer_is_the_latest_solution_else_the_latest_near_attempt_else_the_latest() -> None:
    for _, trace in drawn(200, SearchMix()):
        verdicts = [passage for passage in trace.passages if passage.answer is not None]
        best, best_distance = None, 3
        for passage, (_, value, verdict) in zip(verdicts, attempts_of(trace.text), strict=True):
            assert passage.is_conclusion
            assert passage.text.strip() == verdict
            distance = {"low": 2, "high": 2, "near": 1, "yes!": 0}[verdict]
            if distance <= best_distance:
                best, best_distance = value, distance
            assert passage.answer is not None
            assert eval(passage.answer.replace("x", "*")) == best
        first = next(iter(attempts_of(trace.text)))
        assert eval(trace.first_answer.replace("x", "*")) == first[1]


@pytest.mark.parametrize(("share", "is_ended"), [(0.0, False), (1.0, True)])
def test_thinking_ends_after_that_share_of_the_solutions(share: float, is_ended: bool) -> None:
    solved = [trace.text for _, trace in drawn(200, SearchMix(stop_share=share)) if "yes!" in trace.text]
    assert len(solved) > 50
    ends_at_once = [text.count("yes!") == 1 and text.endswith("right.") for text in solved]
    assert all(ends_at_once) if is_ended else sum(ends_at_once) < 0.5 * len(solved)


def test_no_opening_occurs_twice_and_there_are_few_enough() -> None:
    longest = 0
    for _, trace in drawn(200, SearchMix(max_openings=3)):
        lines = [line.partition(";")[0] for line in trace.text.split("\n")[1:]]
        assert len(lines) == len(set(lines)) <= 3
        longest = max(longest, len(lines))
    assert longest == 3


def test_passages_are_the_text() -> None:
    for _, trace in drawn(20, SearchMix()):
        assert trace.text == "".join(passage.text for passage in trace.passages)
        assert all(not (a.is_conclusion and b.is_conclusion) for a, b in pairwise(trace.passages))
