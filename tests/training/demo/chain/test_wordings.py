"""Wordings, parsed by a parser that shares no code with them."""

import random
import re
from collections.abc import Callable

import pytest
from anytime_training.demo.arithmetic import Operation, Step
from anytime_training.demo.chain.chain import Chain
from anytime_training.demo.chain.wordings import bare, instructions, question, story

CHAIN = Chain(
    start=7,
    steps=(
        Step(operation=Operation.MINUS, operand=3),
        Step(operation=Operation.TIMES, operand=2),
        Step(operation=Operation.PLUS, operand=5),
    ),
)
NEGATIVE = Chain(start=3, steps=(Step(operation=Operation.MINUS, operand=8),))

MINUS_WORDS = r"(?:take away|subtract|minus|go down(?: by)?|remove|loses|gives away|sells|drops) (\d)"
PLUS_WORDS = r"(?:add(?: on)?|plus|go up(?: by)?|count up|gets|finds|wins|buys) (\d)"
TIMES_WORDS = r"(?:multiply(?: it)? by|times|now has) (\d)|(double) it|(triple) it"


def read_back(text: str) -> str:
    """`7-3x2+5` from any of its wordings."""
    text = re.sub(r"\b(mod|modulo) 10\b", "", text.lower())
    events = re.findall(f"{MINUS_WORDS}|{PLUS_WORDS}|{TIMES_WORDS}", text)
    if not events:
        return re.sub(r"\*|×", "x", "".join(re.findall(r"\d|[-+*×]|(?<=\d) ?x(?= ?\d)", text))).replace(
            " ", ""
        )
    start = re.search(r"\d", text)
    assert start is not None
    written = [start.group()]
    for minus, plus, times, double, triple in events:
        factor = times or ("2" if double else "3" if triple else "")
        written.append(f"-{minus}" if minus else f"+{plus}" if plus else f"x{factor}")
    return "".join(written)


@pytest.mark.parametrize("wording", [bare, question, instructions, story])
def test_every_wording_contains_the_whole_chain(wording: Callable[[Chain, random.Random], str]) -> None:
    rng = random.Random(0)
    texts = {wording(CHAIN, rng) for _ in range(300)}
    assert len(texts) > 10
    for text in texts:
        assert read_back(text) == "7-3x2+5", text


@pytest.mark.parametrize("wording", [bare, question, instructions, story])
def test_the_last_digit_is_not_asked_for_below_zero(wording: Callable[[Chain, random.Random], str]) -> None:
    rng = random.Random(0)
    for _ in range(300):
        text = wording(NEGATIVE, rng)
        assert "last" not in text
        assert "has" not in text, "nobody has fewer than no apples"
