"""What the command line asks for."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from anytime_client.endpoint import DEFAULT_URL, UNUSABLE_KEY, can_be_sent
from anytime_client.options import Options

Output = Literal["view", "answer", "json"]
EVERY_TOKENS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question, and how to show what comes of it."""

    prompt: str
    options: Options
    url: str
    api_key: str | None
    output: Output


def parse(argv: Sequence[str]) -> Asked:
    """Read the command line, and the prompt and the schema from where it says; exits with 2 if faulty."""
    parser = _parser()
    given = parser.parse_args(argv)
    stop_when = _given(every_tokens=given.every_tokens, min_confidence=given.min_confidence)
    if given.stable is not None:
        stop_when = {"stable": given.stable, "every_tokens": EVERY_TOKENS, **stop_when}
    elif stop_when:
        parser.error("--every-tokens and --min-confidence belong to --stable")
    options: Any = _given(
        model=given.model,
        budget=_given(tokens=given.budget, deadline_ms=given.deadline_ms),
        budgets=given.budgets,
        stop_when=stop_when,
        thinking=_given(seed=given.seed),
        answer=_given(
            max_tokens=given.max_tokens,
            response_format=None if given.schema is None else _response_format(given.schema, parser),
        ),
        continuation=given.continuation,
    )
    api_key = os.environ.get("ANYTIME_API_KEY") or None
    if api_key is not None and not can_be_sent(api_key):
        parser.error(f"ANYTIME_API_KEY: {UNUSABLE_KEY}")
    return Asked(
        prompt=_prompt(given.prompt, parser),
        options=options,
        url=given.url,
        api_key=api_key,
        output=given.output,
    )


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, {})}


def _prompt(given: str | None, parser: argparse.ArgumentParser) -> str:
    if given is None and sys.stdin.isatty():
        parser.error("there is no prompt")
    try:
        prompt = sys.stdin.read() if given in (None, "-") else given
        prompt.encode()
    except UnicodeError:
        parser.error("the prompt is not text in UTF-8")
    if not prompt.strip():
        parser.error("the prompt is empty")
    return prompt


def _response_format(path: str, parser: argparse.ArgumentParser) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            return {"type": "json_schema", "json_schema": {"schema": json.load(file)}}
    except OSError as error:
        parser.error(f"argument --schema: cannot read {path}: {error.strerror}")
    except (ValueError, RecursionError) as error:
        parser.error(f"argument --schema: {path} is not JSON: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anytime ask",
        allow_abbrev=False,
        description="Ask a running server. Ctrl-C while it thinks means: answer now; again: give up.",
        epilog="A key for the server is taken from the environment, ANYTIME_API_KEY.",
    )
    add = parser.add_argument
    add("prompt", nargs="?", help="the question; - or none reads it from standard input")

    how_long = parser.add_argument_group("how long to think")
    add = how_long.add_argument
    add("--budget", type=_whole_number, metavar="N", help="the most thinking tokens")
    add(
        "--deadline-ms",
        type=_whole_number,
        metavar="MS",
        help="milliseconds by which the whole answer is due",
    )
    add("--budgets", type=_budgets, metavar="N,N,...", help="answers on the way, after so many tokens")
    add("--stable", type=_whole_number, metavar="N", help="stop once N answers in a row agree")
    add(
        "--every-tokens",
        type=_whole_number,
        metavar="N",
        help=f"thinking tokens between those answers (default: {EVERY_TOKENS})",
    )
    add("--min-confidence", type=_fraction, metavar="X", help="count only those at least so sure, 0 to 1")
    add("--continuation", metavar="TEXT", help="think on from an earlier session: from its done, with --json")

    how = parser.add_argument_group("how to answer")
    add = how.add_argument
    add("--max-tokens", type=_whole_number, metavar="N", help="the most tokens of the answer")
    add("--schema", metavar="FILE", help="JSON schema that the answer must match")
    add("--seed", type=_integer, metavar="N", help="makes the request repeatable")

    add = parser.add_argument_group("whom to ask").add_argument
    url = os.environ.get("ANYTIME_URL", DEFAULT_URL)
    add("--url", default=url, help="the server (default: ANYTIME_URL, else %(default)s)")
    add("--model", metavar="NAME", help="the model, where the server has several")

    shown = parser.add_argument_group("what to print").add_mutually_exclusive_group()
    add = shown.add_argument
    add("--answer-only", dest="output", action="store_const", const="answer", help="the answer, nothing else")
    add("--json", dest="output", action="store_const", const="json", help="the events, as lines of JSON")
    parser.set_defaults(output="view")
    return parser


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from None


def _whole_number(text: str) -> int:
    if (number := _integer(text)) < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def _budgets(text: str) -> list[int]:
    return [_whole_number(part) for part in text.split(",")]


def _fraction(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from None
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return number
