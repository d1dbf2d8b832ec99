"""The figures of a run, computed from the outcomes of its requests."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anytime_client.bench.load import Run
from anytime_client.bench.outcomes import Outcome

PERCENTILES = (50, 90, 95, 99)
TIMES = (
    "time_to_first_token_s",
    "inter_token_s",
    "time_per_token_s",
    "cut_to_answer_s",
    "time_to_answer_s",
    "total_s",
)
Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Share of correct answers among the graded ones, and its 95% Wilson interval."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLoad:
    """The load of the client itself: a busy client distorts the times that it measures."""

    cpu_share: float
    """Processor time per wall-clock time: 1 is one full core."""
    late_p99_s: float
    """99th percentile of the delay with which requests were sent."""
    late_most_s: float
    """Maximum of that delay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The figures of a run."""

    requests: int
    ok: int
    refused: Mapping[str, int]
    """Number of refused requests by HTTP status and error code."""
    failed: Mapping[str, int]
    """Number of failed requests by error code."""
    messages: Mapping[str, str]
    """The server's first message for each key of `refused`."""
    given_up: int
    """Requests in flight when the run was interrupted; not part of any other figure."""
    wall_s: float
    """From the first request until the end of the last."""
    requests_per_s: float
    """This and all figures below count only the requests that are ok."""
    tokens_per_s: float
    """Thinking and answer tokens, as the server counts them."""
    prompt_tokens: int
    thinking_tokens: int
    answer_tokens: int
    causes: Mapping[str, int]
    """Number of requests by why the thinking stopped, if the server reports it."""
    times: Mapping[str, Mapping[str, float]]
    """Percentiles `p50`, `p90`, `p95` and `p99` in seconds, for each name of `TIMES`."""
    over_budget: int
    empty_answers: int
    late_answers: int
    """Answers that were not complete by the deadline."""
    accuracy: Accuracy | None
    client: ClientLoad


def report_of(outcomes: Sequence[Outcome], run: Run) -> Report:
    """Summarize the completed requests, of which there may be none."""
    ok = [outcome for outcome in outcomes if outcome.verdict == "ok"]
    thinking_tokens = sum(outcome.thinking_tokens for outcome in ok)
    answer_tokens = sum(outcome.answer_tokens for outcome in ok)
    late_s = sorted(outcome.late_s for outcome in outcomes)
    graded = [outcome.is_right for outcome in ok if outcome.is_right is not None]
    return Report(
        requests=len(outcomes),
        ok=len(ok),
        refused=_codes(outcomes, "refused"),
        failed=_codes(outcomes, "failed"),
        messages={str(o.code): o.message for o in reversed(outcomes) if o.message is not None},
        given_up=run.num_in_flight,
        wall_s=run.wall_s,
        requests_per_s=len(ok) / run.wall_s,
        tokens_per_s=(thinking_tokens + answer_tokens) / run.wall_s,
        prompt_tokens=sum(outcome.prompt_tokens for outcome in ok),
        thinking_tokens=thinking_tokens,
        answer_tokens=answer_tokens,
        causes=dict(Counter(outcome.cause for outcome in ok if outcome.cause is not None)),
        times={name: _percentiles(found) for name in TIMES if (found := times_of(ok, name))},
        over_budget=sum(outcome.is_over_budget for outcome in ok),
        empty_answers=sum(outcome.is_empty for outcome in ok),
        late_answers=sum(outcome.is_late for outcome in ok),
        accuracy=_accuracy(sum(graded), len(graded)) if graded else None,
        client=ClientLoad(
            cpu_share=run.cpu_s / run.wall_s,
            late_p99_s=percentile(late_s, 99) if late_s else 0.0,
            late_most_s=late_s[-1] if late_s else 0.0,
        ),
    )


def percentile(ascending: Sequence[float], percent: float) -> float:
    """Nearest rank: the least value that at least `percent` percent of the values do not exceed."""
    return ascending[max(math.ceil(percent / 100 * len(ascending)), 1) - 1]


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    ascending = sorted(values)
    return {f"p{percent}": percentile(ascending, percent) for percent in PERCENTILES}


def times_of(outcomes: Sequence[Outcome], name: str) -> Sequence[float]:
    if name == "inter_token_s":
        return [gap_s for outcome in outcomes for gap_s in outcome.inter_token_s]
    found: list[float | None] = [getattr(outcome, name) for outcome in outcomes]
    return [value for value in found if value is not None]


def _codes(outcomes: Sequence[Outcome], verdict: str) -> dict[str, int]:
    return dict(Counter(str(outcome.code) for outcome in outcomes if outcome.verdict == verdict))


def _accuracy(num_right: int, num_tried: int) -> Accuracy:
    share, z2 = num_right / num_tried, Z_95**2
    centre = (share + z2 / (2 * num_tried)) / (1 + z2 / num_tried)
    half = Z_95 * math.sqrt(share * (1 - share) / num_tried + z2 / (4 * num_tried**2)) / (1 + z2 / num_tried)
    return Accuracy(value=share, low=max(0.0, centre - half), high=min(1.0, centre + half), n=num_tried)
