"""The outcome of each request, parsed from the recorded bytes after the run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from anytime_client.bench.dialects import Dialect, ParsedStream, RequestTemplate
from anytime_client.bench.exchange import Response, parse_response
from anytime_client.bench.load import Sent
from anytime_client.bench.problems import Problem
from anytime_client.sse import Decoder

Verdict = Literal["ok", "refused", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One request. Times are seconds, counted from when the request was due unless stated otherwise."""

    number: int
    due_s: float
    """Since the start of the run."""
    late_s: float
    """Delay with which the client sent the request."""
    verdict: Verdict
    """`refused`: the server answered with an HTTP error. `failed`: there is no complete answer."""
    code: str | None = None
    """Error code, if the verdict is not `ok`."""
    message: str | None = None
    """The server's error message."""
    cause: str | None = None
    """The reason the thinking stopped."""
    prompt_tokens: int = 0
    thinking_tokens: int = 0
    answer_tokens: int = 0
    time_to_first_token_s: float | None = None
    inter_token_s: Sequence[float] = ()
    """Between consecutive deltas; a delta may hold several tokens."""
    time_per_token_s: float | None = None
    """From the first delta to the last, divided by the number of tokens less one."""
    cut_to_answer_s: float | None = None
    """From the last delta of the thinking to the first of the answer."""
    time_to_answer_s: float | None = None
    """Until the first delta of the answer."""
    total_s: float | None = None
    """Until the last delta of the answer."""
    is_over_budget: bool = False
    is_empty: bool = False
    """The answer is empty."""
    is_late: bool = False
    """The answer was not complete by the deadline."""
    is_right: bool | None = None
    """None if the correct answer is not known."""


def outcome_of(
    sent: Sent, *, began_s: float, dialect: Dialect, template: RequestTemplate, problem: Problem
) -> Outcome:
    """Parse one response.

    Args:
        began_s: start of the run, by `time.perf_counter()`.
    """
    due_s = began_s + sent.due_s
    head: dict[str, Any] = {
        "number": sent.number,
        "due_s": sent.due_s,
        "late_s": sent.exchange.sent_s - due_s,
    }
    response = parse_response(sent.exchange)
    if response is None:
        return Outcome(**head, verdict="failed", code=sent.exchange.failure or "broken")
    if response.status != 200:
        code, message = _error(response)
        return Outcome(**head, verdict="refused", code=f"{response.status} {code}".strip(), message=message)
    decoder = Decoder()
    try:
        stream = dialect.parse([(at, event) for at, chunk in response.body for event in decoder.feed(chunk)])
    except (ValueError, KeyError, TypeError, AttributeError):  # a server that speaks another protocol
        return Outcome(**head, verdict="failed", code="not_of_this_dialect")
    if stream.error is not None or not stream.is_done:
        code = stream.error or sent.exchange.failure or "broken"
        return Outcome(**head, verdict="failed", code=code)
    return Outcome(
        **head,
        verdict="ok",
        cause=stream.cause,
        prompt_tokens=stream.prompt_tokens,
        thinking_tokens=stream.thinking_tokens or 0,
        answer_tokens=stream.answer_tokens,
        **_times(stream, due_s),
        is_over_budget=template.budget is not None and (stream.thinking_tokens or 0) > template.budget,
        is_empty=not stream.answer.strip(),
        is_late=template.deadline_ms is not None
        and (not stream.answer_s or stream.answer_s[-1] - due_s > template.deadline_ms / 1000),
        is_right=None if problem.answer is None else problem.is_solved_by(stream.answer),
    )


def _times(stream: ParsedStream, due_s: float) -> dict[str, Any]:
    deltas_s = [*stream.thinking_s, *stream.answer_s]
    if not deltas_s:
        return {}
    num_tokens = (stream.thinking_tokens or 0) + stream.answer_tokens
    times: dict[str, Any] = {
        "time_to_first_token_s": deltas_s[0] - due_s,
        "inter_token_s": [after - before for before, after in pairwise(deltas_s)],
    }
    if num_tokens > 1:
        times["time_per_token_s"] = (deltas_s[-1] - deltas_s[0]) / (num_tokens - 1)
    if stream.answer_s:
        times["time_to_answer_s"] = stream.answer_s[0] - due_s
        times["total_s"] = stream.answer_s[-1] - due_s
        if stream.thinking_s:
            times["cut_to_answer_s"] = stream.answer_s[0] - stream.thinking_s[-1]
    return times


def _error(response: Response) -> tuple[str, str | None]:
    """The error's code, empty if it has none, and its message."""
    try:
        error: Any = json.loads(b"".join(chunk for _, chunk in response.body))["error"]
        message = error.get("message")
        return str(error.get("code") or error.get("type") or ""), message and str(message)
    except (ValueError, KeyError, TypeError, AttributeError):  # not our server's body: a proxy's, perhaps
        return "", None
