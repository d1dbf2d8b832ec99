"""The command line of `anytime ask`."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from anytime_client.base_client import DEFAULT_URL, INVALID_API_KEY, is_valid_api_key
from anytime_client.options import Options

Output = Literal["view", "answer", "json"]
EVERY_TOKENS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The prompt, the request's options, the server and the kind of output."""

    prompt: str
    options: Options
    url: str
    api_key: str | None
    output: Output


def parse(argv: Sequence[str]) -> Arguments:
    """Parse the command line, and read the prompt and the schema; exits with 2 if any of them is invalid."""
    parser = _parser()
    parsed = parser.parse_args(argv)
    stop_when = _without_empty(every_tokens=parsed.every_tokens, min_confidence=parsed.min_confidence)
    if parsed.stable is not None:
        stop_when = {"stable": parsed.stable, "every_tokens": EVERY_TOKENS, **stop_when}
    elif stop_when:
        parser.error("--every-tokens and --min-confidence require --stable")
    options: Any = _without_empty(
        model=parsed.model,
        budget=_without_empty(
            tokens=parsed.budget, share=parsed.share, grace=parsed.grace, deadline_ms=parsed.deadline_ms
        ),
        budgets=parsed.budgets,
        stop_when=stop_when,
        thinking=_without_empty(seed=parsed.seed),
        answer=_without_empty(
            max_tokens=parsed.max_tokens,
            response_format=None if parsed.schema is None else _response_format(parsed.schema, parser),
        ),
        continuation=parsed.continuation,
    )
    api_key = os.environ.get("ANYTIME_API_KEY") or None
    if api_key is not None and not is_valid_api_key(api_key):
        parser.error(f"ANYTIME_API_KEY: {INVALID_API_KEY}")
    return Arguments(
        prompt=_prompt(parsed.prompt, parser),
        options=options,
        url=parsed.url,
        api_key=api_key,
        output=parsed.output,
    )


def _without_empty(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, {})}


def _prompt(argument: str | None, parser: argparse.ArgumentParser) -> str:
    if argument is None and sys.stdin.isatty():
        parser.error("a prompt is required")
    try:
        prompt = sys.stdin.read() if argument in (None, "-") else argument
        prompt.encode()
    except UnicodeError:
        parser.error("the prompt is not valid UTF-8")
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
        parser.error(f"argument --schema: {path} is not valid JSON: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anytime ask",
        allow_abbrev=False,
        description="Send a prompt to a running server. Ctrl-C during the thinking requests the answer; "
        "a second Ctrl-C gives up.",
        epilog="The API key is read from the environment variable ANYTIME_API_KEY.",
    )
    add = parser.add_argument
    add("prompt", nargs="?", help="the prompt; read from standard input if it is - or missing")

    add = parser.add_argument_group("thinking").add_argument
    add("--budget", type=_non_negative, metavar="N", help="maximum number of thinking tokens")
    add("--share", type=_share, metavar="X", help="the same as a share of the prompt's tokens")
    add(
        "--grace",
        type=_non_negative,
        metavar="N",
        help="maximum number of tokens over the budget, to the end of a sentence",
    )
    add(
        "--deadline-ms",
        type=_non_negative,
        metavar="MS",
        help="milliseconds until the complete answer is due",
    )
    add("--budgets", type=_budgets, metavar="N,N,...", help="give early answers after N thinking tokens")
    add("--stable", type=_non_negative, metavar="N", help="stop once N consecutive early answers agree")
    add(
        "--every-tokens",
        type=_non_negative,
        metavar="N",
        help=f"with --stable: thinking tokens between early answers (default: {EVERY_TOKENS})",
    )
    add(
        "--min-confidence",
        type=_fraction,
        metavar="X",
        help="with --stable: count only answers with at least this confidence, 0 to 1",
    )
    add("--continuation", metavar="TOKEN", help="resume the thinking of an earlier session (see --json)")

    add = parser.add_argument_group("answer").add_argument
    add("--max-tokens", type=_non_negative, metavar="N", help="maximum number of answer tokens")
    add("--schema", metavar="FILE", help="JSON schema that the answer must match")
    add("--seed", type=_integer, metavar="N", help="make the session reproducible")

    add = parser.add_argument_group("server").add_argument
    url = os.environ.get("ANYTIME_URL", DEFAULT_URL)
    add("--url", default=url, help="address of the server (default: ANYTIME_URL, else %(default)s)")
    add("--model", metavar="NAME", help="name of the model, if the server has several")

    add = parser.add_argument_group("output").add_mutually_exclusive_group().add_argument
    add("--answer-only", dest="output", action="store_const", const="answer", help="print only the answer")
    add("--json", dest="output", action="store_const", const="json", help="print every event as a JSON line")
    parser.set_defaults(output="view")
    return parser


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from None


def _non_negative(text: str) -> int:
    if (number := _integer(text)) < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def _budgets(text: str) -> list[int]:
    return [_non_negative(part) for part in text.split(",")]


def _share(text: str) -> float:
    if not 0 <= (number := _number(text)) < math.inf:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from None


def _fraction(text: str) -> float:
    number = _number(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return number
