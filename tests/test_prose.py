"""The prose linter finds the phrasings that it is for, and leaves plain English alone."""

from __future__ import annotations

import pytest
from prose.check import PATTERNS, findings, problems


def _rules(text: str, path: str = "page.md") -> set[str]:
    """The rules that a text breaks."""
    return {finding.split(": ")[1] for finding in findings(text, path)}


@pytest.mark.parametrize(
    ("bad", "rule", "good"),
    [
        (
            "Who asks for more than there is room for is told 429.",
            "headless",
            "Requests over the limit get 429.",
        ),
        (
            "Who is next is let past by nobody.",
            "let-past",
            "The queue head is never bypassed, even by a request that would fit.",
        ),
        (
            "Seconds after which a client is hung up on that takes nothing.",
            "hang-up",
            "Seconds without a read before the client is disconnected.",
        ),
        (
            "Whatever the recipe says itself goes before the preset.",
            "go-before",
            "Recipe keys override the preset.",
        ),
        ("One key's.", "nounless-possessive", "One API key's usage and limits."),
        ("What a request costs.", "headless", "The cost of a request. What does a request cost?"),
        ("That a client reads slowly costs it alone.", "headless-that", "That limit holds for all clients."),
        ("One that is cancelled ends at once.", "headless-that", "One of the answers is cancelled."),
        ("It drains; who comes meanwhile gets 503.", "headless-clause", "The client, who waits, gets 503."),
        ("The metric tells the latency.", "tell", "The metric reports the latency."),
        ("The server is told to stop.", "tell", "The server gets SIGTERM."),
        ("A limit of so many a minute.", "so-many", "A limit of that many requests a minute."),
        ("Copies are dear.", "dear", "Copies are expensive."),
        ("Ruff mends the rest.", "mend", "Ruff fixes what we recommend."),
        ("It waits for a place.", "slot", "It waits for a slot. It takes the place of the last."),
        ("A place in the engine.", "slot", "A slot of the engine, changed in place."),
        ("Requests wait in line.", "queue", "Requests wait in the queue; line 3 is in line with line 2."),
        ("The outbox merges deltas.", "event-queue", "The event queue merges deltas."),
        ("A sealed state.", "continuation-token", "A signed continuation token."),
        ("The ingress knows the key.", "request-context", "The ingress controller balances the load."),
        ("From the arrival on.", "request-context", "Seconds since the request's arrival."),
        ("Bounds on headers and bodies.", "size-limits", "Limits on headers; the bounds of the interval."),
        ("Its own hosts are served.", "trusted-hosts", "Trusted hosts are served; replicas have own clocks."),
        ("The text inserted at a cut.", "truncation", "The thinking is cut at its budget, and truncated."),
        ("Rungs are sampled beside it.", "early-answer", "The fork of the repository has early answers."),
        ("Several thinkings of a prompt.", "rollout", "The thinking of several rollouts."),
        ("The speed meter is warm.", "latency", "The latency estimator is warm; speed is no meter."),
    ],
)
def test_each_rule_has_its_phrase(bad: str, rule: str, good: str) -> None:
    assert rule in _rules(bad)
    assert not _rules(good)


def test_every_rule_is_tried() -> None:
    marks = test_each_rule_has_its_phrase.pytestmark  # pyright: ignore[reportFunctionMemberAccess]
    assert {rule for _, rule, _ in marks[0].args[1]} == set(PATTERNS)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("page.md", "One.\n\n## What comes\n"),
        ("page.md", "One.\n\n| a | b |\n|---|---|\n| c | it tells |\n"),
        ("page.md", "| a | b |\n|---|---|\n| c | What it has |\n"),
        ("page.md", "One. It is\nhung\nup on.\n"),
        ("code.py", '"""Good."""\n\nx = 1  # it tells\n'),
        ("code.py", 'class Limits:\n    per_minute: int\n    """So many a minute."""\n'),
        ("code.py", "# Good words, all of\n# them. What it has.\n"),
        ("code.py", "# Good words\n\n# What it has.\n"),
        ("code.py", "x = 1  # good words\ny = 2  # What it has.\n"),
        ("code.py", 'raise ValueError(f"{x} was told to stop")\n'),
        ("code.py", "def test_who_is_not_known_is_told() -> None:\n    pass\n"),
        ("code.py", "async def test_who_is_not_known_is_told() -> None:\n    pass\n"),
        ("code.ts", "const x = 1;\n/**\n * It tells.\n */\n"),
        ("code.js", "// What it has.\n"),
        ("code.sh", "#!/bin/sh\n# What it has.\n"),
    ],
)
def test_a_phrase_is_found_in(path: str, text: str) -> None:
    assert _rules(text, path)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("page.md", "```\nit tells\n```\n"),
        ("page.md", "The field `tell` and `what_it_tells`.\n"),
        ("page.md", "<!-- generated: x -->\n\nit tells\n\n<!-- end of x -->\n"),
        ("page.md", "What stops the thinking?\n"),
        ("code.py", "def test_unknown_key_gets_401() -> None:\n    told = tell(1)\n"),
        ("code.py", 'x = f"What is {y} plus {z}?"\n'),
        ("code.py", 'KEY = "told"\n'),
        ("code.py", "def once_told_twice() -> None: ...\n"),
    ],
)
def test_no_phrase_is_found_in(path: str, text: str) -> None:
    assert not _rules(text, path)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("page.md", "Good.\n\nIt is broken\nover\nlines, and is mended.\n"),
        ("code.py", '"""Good."""\n\n# It is broken\n# over\n# lines, and is mended.\n'),
    ],
)
def test_a_finding_names_its_line_and_a_better_word(path: str, text: str) -> None:
    assert list(findings(text, path)) == [f"{path}:5: mend: 'mended' (fix)"]


def test_exceptions_hide_findings_and_must_be_needed() -> None:
    files = {"docs/a.md": "It tells.\n", "server/b.md": "It tells.\n", "tests/c.md": "It logs.\n"}
    found = problems(files, ["server/", "tests/"])
    assert [finding.split(": ")[0] for finding in found] == [
        "docs/a.md:1",
        "the exception 'tests/' excepts nothing",
    ]
