"""The command line of `anytime bench`."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anytime_client.base_client import DEFAULT_URL, INVALID_API_KEY, is_valid_api_key

DEFAULT_USERS, DEFAULT_REQUESTS = 8, 100
RESERVED_FIELDS = {"stream", "stream_options", "n", "model", "messages"}
"""Request fields that only the benchmark itself may set."""
PLOT_FORMATS = (".svg", ".png", ".pdf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The load of a run, the server, and the output."""

    url: str
    api_key: str | None
    model: str | None
    """None: the only model of the server."""
    dialect: str
    users: int
    rate: float | None
    """Requests per second of an open loop; None for a closed loop."""
    requests: int | None
    duration_s: float | None
    """At least one of `requests` and `duration_s` is set."""
    warmup: int
    timeout_s: float
    prompts: Path | None
    seed: int
    budget: int | None
    deadline_ms: int | None
    max_tokens: int | None
    extra_fields: dict[str, Any]
    """Added to the body of every request."""
    json: bool
    csv: Path | None
    plot: Path | None


def parse(argv: Sequence[str]) -> Arguments:
    """Parse the command line; exits with 2 if it is invalid."""
    parser = _parser()
    parsed = parser.parse_args(argv)
    api_key = parsed.api_key or os.environ.get("ANYTIME_API_KEY") or None
    if api_key is not None and not is_valid_api_key(api_key):
        parser.error(f"{'--api-key' if parsed.api_key else 'ANYTIME_API_KEY'}: {INVALID_API_KEY}")
    if parsed.rate is not None and parsed.users is not None:
        parser.error("--rate and --users exclude each other")
    if reserved := RESERVED_FIELDS & parsed.extra_fields.keys():
        names = ", ".join(sorted(reserved))
        parser.error(f"--body: cannot set {names}: every request streams one answer")
    for field, is_set in (
        ("budget", parsed.budget is not None or parsed.deadline_ms is not None),
        ("thinking_token_budget", parsed.budget is not None),
        ("max_tokens", parsed.max_tokens is not None),
    ):
        if is_set and field in parsed.extra_fields:
            parser.error(f"--body: another option sets {field} already")
    options: dict[str, Any] = vars(parsed) | {"api_key": api_key, "users": parsed.users or DEFAULT_USERS}
    if parsed.requests is None and parsed.duration_s is None:
        options["requests"] = DEFAULT_REQUESTS
    return Arguments(**options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anytime bench",
        allow_abbrev=False,
        description="Send load to a running server and report how it performed. "
        "Ctrl-C ends the run and reports the requests completed so far.",
        epilog="Without --api-key, the API key is read from the environment variable ANYTIME_API_KEY.",
    )
    url = os.environ.get("ANYTIME_URL", DEFAULT_URL)
    parser.add_argument(
        "url",
        nargs="?",
        metavar="URL",
        default=url,
        help="address of the server (default: ANYTIME_URL, else %(default)s)",
    )

    add = parser.add_argument_group("load").add_argument
    add(
        "--users",
        type=_positive,
        metavar="N",
        help=f"closed loop: N users, each with one request at a time (default: {DEFAULT_USERS})",
    )
    add("--rate", type=_above_0, metavar="R", help="open loop: R requests per second, Poisson arrival times")
    add("--requests", type=_positive, metavar="N", help=f"number of requests (default: {DEFAULT_REQUESTS})")
    add("--duration", dest="duration_s", type=_above_0, metavar="S", help="send no request after S seconds")
    add("--warmup", type=_whole, default=0, metavar="N", help="requests sent first and not counted")
    add(
        "--timeout",
        dest="timeout_s",
        type=_above_0,
        default=300.0,
        metavar="S",
        help="maximum seconds per request (default: 300)",
    )

    add = parser.add_argument_group("requests").add_argument
    add(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="JSON lines, each with a question and optionally its answer (default: the model's examples)",
    )
    add("--budget", type=_whole, metavar="N", help="maximum number of thinking tokens")
    add("--deadline-ms", type=_whole, metavar="MS", help="milliseconds until the complete answer is due")
    add(
        "--max-tokens",
        type=_positive,
        metavar="N",
        help="maximum number of answer tokens; with --dialect openai, of thinking and answer",
    )
    add(
        "--body",
        dest="extra_fields",
        type=_object,
        default={},
        metavar="JSON",
        help="object with further fields of every request",
    )
    add("--seed", type=_whole, default=0, metavar="N", help="seed of arrival times and sampling (default: 0)")

    add = parser.add_argument_group("server").add_argument
    add(
        "--dialect",
        choices=("native", "openai"),
        default="native",
        help="protocol; openai works with any compatible server",
    )
    add("--model", metavar="NAME", help="name of the model, if the server has several")
    add("--api-key", metavar="KEY", help="sent as a bearer token")

    add = parser.add_argument_group("output").add_argument
    add("--json", action="store_true", help="print one line of JSON instead of a table")
    add("--csv", type=_file, metavar="FILE", help="also write a row for each request")
    add("--plot", type=_plot, metavar="FILE", help="also plot the latency distributions (.svg, .png or .pdf)")
    return parser


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if (number := _whole(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _above_0(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return number


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("must be a JSON object")
    return value  # type: ignore[return-value]


def _file(text: str) -> Path:
    path = Path(text)
    if not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"the folder {path.parent} does not exist")
    return path


def _plot(text: str) -> Path:
    if not text.endswith(PLOT_FORMATS):
        raise argparse.ArgumentTypeError(f"must end in {', '.join(PLOT_FORMATS)}")
    return _file(text)
