"""Traces, checked step by step by an evaluator that shares no code with them."""

import operator
import random
import re

import pytest
from anytime_training.demo.arithmetic import Operation, Step
from anytime_training.demo.chain.chain import Chain
from anytime_training.demo.chain.task import ChainProblem, ChainTask
from anytime_training.demo.chain.traces import TraceMix, recheck, terse, wordy
from anytime_training.demo.written import Passage

SIGNS = {"+": operator.add, "-": operator.sub, "x": operator.mul}
CHAIN = Chain(
    start=7,
    steps=(
        Step(operation=Operation.MINUS, operand=3),
        Step(operation=Operation.TIMES, operand=2),
        Step(operation=Operation.PLUS, operand=5),
    ),
)


def text_of(trace: tuple[Passage, ...]) -> str:
    return "".join(passage.text for passage in trace)


def partial_results(content: str) -> list[int]:
    value, results = int(content[0]), []
    for sign, digit in re.findall(r"([-+x])(\d)", content[1:]):
        value = SIGNS[sign](value, int(digit)) % 10
        results.append(value)
    return results


def check_steps(steps: str, problem: ChainProblem) -> None:
    """Each step starts at the previous result, is the problem's step, and is right."""
    expected = partial_results(problem.content)
    operations = re.findall(r"[-+x]\d", problem.content[1:])
    before = int(problem.content[0])
    written = steps.split("; ")
    assert len(written) == len(expected)
    for step, operation, after in zip(written, operations, expected, strict=True):
        assert step == f"{before}{operation}={after}"
        before = after


def test_styles_by_hand() -> None:
    assert text_of(terse(CHAIN, stride=2)) == "Quick: 8, 3"
    assert text_of(wordy(CHAIN)) == "Steps: 7-3=4; 4x2=8; 8+5=3"
    assert text_of(recheck(CHAIN, stride=2, slip_rng=None)) == "Quick: 8, 3. Check: 7-3=4; 4x2=8; 8+5=3"


def test_wider_strides_keep_the_last_result() -> None:
    assert text_of(terse(CHAIN, stride=1)) == "Quick: 4, 8, 3"
    assert text_of(terse(CHAIN, stride=3)) == "Quick: 3"
    assert text_of(terse(CHAIN, stride=4)) == "Quick: 3"


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_everything_that_is_learned_is_right(stride: int) -> None:
    rng = random.Random(0)
    task, mix = ChainTask(), TraceMix(stride=stride)
    seen = {"Quick": 0, "Steps": 0, "Check": 0, "slip": 0}
    for _ in range(1000):
        problem = task.sample(rng)
        trace = mix.sample(problem, rng)
        assert trace.first_answer == problem.answer
        assert not any(passage.answer for passage in trace.passages)
        text = trace.text
        quick, _, check = text.partition(". Check: ")
        if text.startswith("Steps: "):
            seen["Steps"] += 1
            check_steps(text.removeprefix("Steps: "), problem)
            continue
        seen["Check" if check else "Quick"] += 1
        results = partial_results(problem.content)
        strided = [result for number, result in enumerate(results, 1) if number % stride == 0]
        right = strided + ([results[-1]] if len(results) % stride else [])
        stated = [int(value) for value in quick.removeprefix("Quick: ").split(", ")]
        if check:
            check_steps(check, problem)
        if all(passage.learned for passage in trace.passages):
            assert stated == right
            continue
        seen["slip"] += 1
        assert len(stated) == len(right)
        learned_part, slip, last = trace.passages
        assert (learned_part.learned, slip.learned, last.learned) == (True, False, True)
        num_right = learned_part.text.count(",")
        assert stated[:num_right] == right[:num_right]
        assert stated[num_right] != right[num_right]
    assert min(seen.values()) > 50


def test_slip_continues_from_the_wrong_result() -> None:
    slips = {text_of(recheck(CHAIN, stride=2, slip_rng=random.Random(seed))) for seed in range(200)}
    guesses = {slip.partition(".")[0] for slip in slips}
    assert "Quick: 8, 3" not in guesses
    late = {f"Quick: 8, {wrong}" for wrong in range(10) if wrong != 3}
    early = {f"Quick: {wrong}, {(wrong + 5) % 10}" for wrong in range(10) if wrong != 8}
    assert guesses == late | early


def test_mixture_follows_its_weights() -> None:
    mix = TraceMix(terse_weight=1, wordy_weight=0, recheck_weight=0, stride=2)
    problem = ChainProblem(content="7-3x2+5", prompt="", answer="3", wording="bare", chain=CHAIN)
    assert {mix.sample(problem, random.Random(seed)).text for seed in range(50)} == {"Quick: 8, 3"}
