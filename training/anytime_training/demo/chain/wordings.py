"""Wordings of a chain: bare, as a question, as instructions or as a short story.

A wording that asks for "the last digit" is used only where no partial result is below zero, so that the last
digit is the result modulo 10.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from anytime_training.demo.arithmetic import Operation, Step
from anytime_training.demo.chain.chain import Chain

Wording = Callable[[Chain, random.Random], str]

_SPOKEN_SIGNS = {Operation.PLUS: "plus", Operation.MINUS: "minus", Operation.TIMES: "times"}
_SIGNS: tuple[dict[Operation, str], ...] = (
    {operation: operation.value for operation in Operation},
    {Operation.PLUS: "+", Operation.MINUS: "-", Operation.TIMES: "*"},
    {Operation.PLUS: "+", Operation.MINUS: "-", Operation.TIMES: "×"},
    _SPOKEN_SIGNS,
)
_SIGNS_WEIGHTS = (6, 2, 2, 1)
_BARE_ENDS = ("", "", "", " =", " = ?", " mod 10", " (mod 10)", " modulo 10")
_QUESTIONS = (
    "What is {}, left to right, modulo 10?",
    "What is {} modulo 10, going left to right?",
    "Work out {} from left to right, modulo 10.",
    "Calculate {} modulo 10, left to right.",
    "Please calculate {} mod 10, from left to right.",
    "Compute {} (left to right, mod 10).",
    "From left to right, what does {} give modulo 10?",
)
_LAST_DIGIT_QUESTIONS = (
    "What is the last digit of {}, left to right?",
    "Work out {} from left to right. What is the last digit?",
)
_STARTS = ("Start at {}", "Start with {}", "Begin with {}", "Begin at {}", "Take {}", "The number is {}")
_VERBS: dict[Operation, tuple[str, ...]] = {
    Operation.PLUS: ("add {}", "plus {}", "go up {}", "go up by {}", "count up {}", "add on {}"),
    Operation.MINUS: ("take away {}", "subtract {}", "minus {}", "go down {}", "go down by {}", "remove {}"),
    Operation.TIMES: ("multiply by {}", "times {}", "multiply it by {}"),
}
_NAMED_MULTIPLIERS = {2: "double it", 3: "triple it"}
_ENDS = (
    "What is the result modulo 10?",
    "What is it modulo 10?",
    "What do you get, modulo 10?",
    "Give the result mod 10.",
)
_LAST_DIGIT_ENDS = ("What is the last digit?", "Give the last digit.", "Which digit is last?")
_PEOPLE = (("Ann", "She"), ("Tom", "He"), ("Mia", "She"), ("Ben", "He"), ("Eva", "She"), ("Sam", "He"))
_THINGS = ("coins", "apples", "books", "cards", "stones", "points")
_EVENTS: dict[Operation, tuple[str, ...]] = {
    Operation.PLUS: ("{} gets {} more.", "{} finds {}.", "{} wins {}.", "{} buys {} more."),
    Operation.MINUS: ("{} loses {}.", "{} gives away {}.", "{} sells {}.", "{} drops {}."),
    Operation.TIMES: ("{} now has {} times as many.",),
}


def bare(chain: Chain, rng: random.Random) -> str:
    """`7 - 3 x 2 + 5`, perhaps with `mod 10` or an equals sign after it."""
    return _expression(chain, rng) + rng.choice(_BARE_ENDS)


def question(chain: Chain, rng: random.Random) -> str:
    """`What is 7 - 3 x 2 + 5, left to right, modulo 10?`"""
    last_digit = chain.never_negative and rng.random() < 0.4
    return rng.choice(_LAST_DIGIT_QUESTIONS if last_digit else _QUESTIONS).format(_expression(chain, rng))


def instructions(chain: Chain, rng: random.Random) -> str:
    """`Start at 7. Take away 3. Double it. Add 5. What is the last digit?`"""
    start = rng.choice(_STARTS).format(chain.start)
    clauses = [_instruction(step, rng) for step in chain.steps]
    end = rng.choice(_LAST_DIGIT_ENDS if chain.never_negative and rng.random() < 0.6 else _ENDS)
    if rng.random() < 0.7:
        return ". ".join([start, *(clause[0].upper() + clause[1:] for clause in clauses), end])
    return f"{start}, {rng.choice((', ', ', then ', ' and then ')).join(clauses)}. {end}"


def story(chain: Chain, rng: random.Random) -> str:
    """`Ann has 7 coins. She loses 3. She now has 2 times as many. ...`; instructions for negative counts."""
    if not chain.never_negative:
        return instructions(chain, rng)
    name, pronoun = rng.choice(_PEOPLE)
    thing = rng.choice(_THINGS)
    events = [rng.choice(_EVENTS[step.operation]).format(pronoun, step.operand) for step in chain.steps]
    end = rng.choice(
        (f"What is the last digit of the number of {thing}?", "What is the last digit of what is left?")
    )
    return " ".join([f"{name} has {chain.start} {thing}.", *events, end])


def _expression(chain: Chain, rng: random.Random) -> str:
    signs = rng.choices(_SIGNS, _SIGNS_WEIGHTS)[0]
    space = " " if signs is _SPOKEN_SIGNS or rng.random() < 0.85 else ""
    steps = (f"{space}{signs[step.operation]}{space}{step.operand}" for step in chain.steps)
    return f"{chain.start}{''.join(steps)}"


def _instruction(step: Step, rng: random.Random) -> str:
    if step.operation is Operation.TIMES and step.operand in _NAMED_MULTIPLIERS and rng.random() < 0.6:
        return _NAMED_MULTIPLIERS[step.operand]
    return rng.choice(_VERBS[step.operation]).format(step.operand)
