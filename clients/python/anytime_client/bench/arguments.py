"""What the command line asks for."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anytime_client.endpoint import DEFAULT_URL, UNUSABLE_KEY, can_be_sent

USERS, REQUESTS = 8, 100
OWN_FIELDS = {"stream", "stream_options", "n", "model", "messages"}
"""Of a request, which are for the bench to set."""
PLOTS = (".svg", ".png", ".pdf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run, and where to tell of it."""

    url: str
    api_key: str | None
    model: str | None
    """None for the only one that is served."""
    dialect: str
    users: int
    rate: float | None
    """Requests a second, in an open loop; None for a closed one."""
    requests: int | None
    duration_s: float | None
    """One of both is given, or both."""
    warmup: int
    timeout_s: float
    prompts: Path | None
    seed: int
    budget: int | None
    deadline_ms: int | None
    max_tokens: int | None
    more: dict[str, Any]
    json: bool
    csv: Path | None
    plot: Path | None


def parse(argv: Sequence[str]) -> Plan:
    """Read the command line; exits with 2 if faulty."""
    parser = _parser()
    given = parser.parse_args(argv)
    api_key = given.api_key or os.environ.get("ANYTIME_API_KEY") or None
    if api_key is not None and not can_be_sent(api_key):
        parser.error(f"{'--api-key' if given.api_key else 'ANYTIME_API_KEY'}: {UNUSABLE_KEY}")
    if given.rate is not None and given.users is not None:
        parser.error("--rate and --users exclude each other")
    if found := OWN_FIELDS & given.more.keys():
        parser.error(
            f"--body: {', '.join(sorted(found))} cannot be set: requests are streamed, one answer each"
        )
    for field, is_set in (
        ("budget", given.budget is not None or given.deadline_ms is not None),
        ("thinking_token_budget", given.budget is not None),
        ("max_tokens", given.max_tokens is not None),
    ):
        if is_set and field in given.more:
            parser.error(f"--body: {field} is set by an option already")
    options: dict[str, Any] = vars(given) | {"api_key": api_key, "users": given.users or USERS}
    if given.requests is None and given.duration_s is None:
        options["requests"] = REQUESTS
    return Plan(**options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anytime bench",
        allow_abbrev=False,
        description="Send load to a running server, and tell how it did, at Ctrl-C of what there is by then.",
        epilog="A key for the server is taken from --api-key, else from the environment, ANYTIME_API_KEY.",
    )
    url = os.environ.get("ANYTIME_URL", DEFAULT_URL)
    parser.add_argument(
        "url", nargs="?", metavar="URL", default=url, help="default: ANYTIME_URL, else %(default)s"
    )

    add = parser.add_argument_group("how much").add_argument
    add(
        "--users",
        type=_positive,
        metavar="N",
        help=f"who ask one after another (default: {USERS})",
    )
    add("--rate", type=_above_0, metavar="R", help="instead: R requests a second, at random times (Poisson)")
    add("--requests", type=_positive, metavar="N", help=f"how many (default: {REQUESTS})")
    add("--duration", dest="duration_s", type=_above_0, metavar="S", help="none is sent after S seconds")
    add("--warmup", type=_whole, default=0, metavar="N", help="requests that come first and do not count")
    add(
        "--timeout",
        dest="timeout_s",
        type=_above_0,
        default=300.0,
        metavar="S",
        help="for each (default: 300 s)",
    )

    add = parser.add_argument_group("what is asked").add_argument
    add(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="lines of JSON: a question, perhaps its answer (default: the examples of the model)",
    )
    add("--budget", type=_whole, metavar="N", help="the most thinking tokens")
    add("--deadline-ms", type=_whole, metavar="MS", help="by which the whole answer is due")
    add("--max-tokens", type=_positive, metavar="N", help="of the answer; in openai, with the thinking")
    add(
        "--body",
        dest="more",
        type=_object,
        default={},
        metavar="JSON",
        help="an object of further fields for each request",
    )
    add("--seed", type=_whole, default=0, metavar="N", help="of arrivals and thinking (default: 0)")

    add = parser.add_argument_group("whom to ask").add_argument
    add("--dialect", choices=("native", "openai"), default="native", help="openai: any server of that kind")
    add("--model", metavar="NAME", help="where the server has several")
    add("--api-key", metavar="KEY", help="sent as a bearer token")

    add = parser.add_argument_group("what to tell").add_argument
    add("--json", action="store_true", help="one line of JSON instead of a table")
    add("--csv", type=_file, metavar="FILE", help="also a row for each request")
    add("--plot", type=_plot, metavar="FILE", help="also draw the distribution of times (.svg, .png or .pdf)")
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
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"is not JSON: {error}") from None
    if not isinstance(said, dict):
        raise argparse.ArgumentTypeError("must be a JSON object")
    return said  # type: ignore[return-value]


def _file(text: str) -> Path:
    path = Path(text)
    if not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    return path


def _plot(text: str) -> Path:
    if not text.endswith(PLOTS):
        raise argparse.ArgumentTypeError(f"must end in {', '.join(PLOTS)}")
    return _file(text)
