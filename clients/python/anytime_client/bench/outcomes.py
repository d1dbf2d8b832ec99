"""What became of each request: read from what came, after the load is over."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from anytime_client.bench.dialects import Ask, Dialect, Told
from anytime_client.bench.exchange import Response, read_response
from anytime_client.bench.load import Sent
from anytime_client.bench.problems import Problem
from anytime_client.sse import Decoder

Verdict = Literal["ok", "refused", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One request. Times are seconds, from when it was due if nothing else is said."""

    number: int
    due_s: float
    """From the beginning of the run."""
    late_s: float
    """By which it was sent later: the client's own fault."""
    verdict: Verdict
    """Refused: answered with an HTTP error. Failed: there is no whole answer."""
    code: str | None = None
    """Why it is not ok."""
    message: str | None = None
    """What the server says of that."""
    cause: str | None = None
    """What stopped the thinking."""
    prompt_tokens: int = 0
    thinking_tokens: int = 0
    answer_tokens: int = 0
    time_to_first_token_s: float | None = None
    inter_token_s: Sequence[float] = ()
    """From each piece of text to the next; a piece may be of several tokens."""
    time_per_token_s: float | None = None
    """From the first piece to the last, over the tokens less one."""
    cut_to_answer_s: float | None = None
    """From the last piece of the thinking to the first of the answer."""
    time_to_answer_s: float | None = None
    """To the first piece of the answer."""
    total_s: float | None = None
    """To the last piece of the answer."""
    is_over_budget: bool = False
    is_empty: bool = False
    """The answer is."""
    is_late: bool = False
    """The answer was not whole by the deadline."""
    is_right: bool | None = None
    """None where the right answer is not known."""


def outcome_of(sent: Sent, *, began_s: float, dialect: Dialect, ask: Ask, problem: Problem) -> Outcome:
    """Read one response.

    Args:
        began_s: when the run began, by `time.perf_counter()`.
    """
    due_s = began_s + sent.due_s
    head: dict[str, Any] = {
        "number": sent.number,
        "due_s": sent.due_s,
        "late_s": sent.exchange.sent_s - due_s,
    }
    response = read_response(sent.exchange)
    if response is None:
        return Outcome(**head, verdict="failed", code=sent.exchange.failure or "broken")
    if response.status != 200:
        code, message = _error(response)
        return Outcome(**head, verdict="refused", code=f"{response.status} {code}".strip(), message=message)
    decoder = Decoder()
    try:
        told = dialect.read([(at, event) for at, piece in response.pieces for event in decoder.feed(piece)])
    except (ValueError, KeyError, TypeError, AttributeError):  # some other server's stream
        return Outcome(**head, verdict="failed", code="not_of_this_dialect")
    if told.error is not None or not told.is_done:
        code = told.error or sent.exchange.failure or "broken"
        return Outcome(**head, verdict="failed", code=code)
    return Outcome(
        **head,
        verdict="ok",
        cause=told.cause,
        prompt_tokens=told.prompt_tokens,
        thinking_tokens=told.thinking_tokens or 0,
        answer_tokens=told.answer_tokens,
        **_times(told, due_s),
        is_over_budget=ask.budget is not None and (told.thinking_tokens or 0) > ask.budget,
        is_empty=not told.answer.strip(),
        is_late=ask.deadline_ms is not None
        and (not told.answer_s or told.answer_s[-1] - due_s > ask.deadline_ms / 1000),
        is_right=None if problem.answer is None else problem.is_solved_by(told.answer),
    )


def _times(told: Told, due_s: float) -> dict[str, Any]:
    pieces_s = [*told.thinking_s, *told.answer_s]
    if not pieces_s:
        return {}
    num_tokens = (told.thinking_tokens or 0) + told.answer_tokens
    times: dict[str, Any] = {
        "time_to_first_token_s": pieces_s[0] - due_s,
        "inter_token_s": [after - before for before, after in pairwise(pieces_s)],
    }
    if num_tokens > 1:
        times["time_per_token_s"] = (pieces_s[-1] - pieces_s[0]) / (num_tokens - 1)
    if told.answer_s:
        times["time_to_answer_s"] = told.answer_s[0] - due_s
        times["total_s"] = told.answer_s[-1] - due_s
        if told.thinking_s:
            times["cut_to_answer_s"] = told.answer_s[0] - told.thinking_s[-1]
    return times


def _error(response: Response) -> tuple[str, str | None]:
    """Its code, perhaps empty, and its message."""
    try:
        error: Any = json.loads(b"".join(piece for _, piece in response.pieces))["error"]
        message = error.get("message")
        return str(error.get("code") or error.get("type") or ""), message and str(message)
    except (ValueError, KeyError, TypeError, AttributeError):  # a proxy's, perhaps
        return "", None
