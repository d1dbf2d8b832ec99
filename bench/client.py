"""The client of the measurements: the load generator of `anytime bench`, used as a library."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from anytime_client.bench.dialects import DIALECTS, RequestTemplate
from anytime_client.bench.exchange import Exchange, Response, Target, parse_response
from anytime_client.bench.load import Run, Send, arrivals, closed_loop, open_loop
from anytime_client.bench.outcomes import Outcome, outcome_of
from anytime_client.bench.problems import Problem
from anytime_client.bench.report import Report, report_of
from anytime_client.sse import Decoder, ServerSentEvent
from servers import MODEL_NAME, Server

TIMEOUT_S = 300.0

Request = tuple[str, dict[str, Any]]
"""Path and body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The result of a run in which all requests succeeded."""

    outcomes: Sequence[Outcome]
    """In the order of the requests."""
    report: Report
    cpu_s: float
    """Processor seconds that the server used during the run."""


async def send_load(
    server: Server,
    template: RequestTemplate,
    problems: Sequence[Problem],
    *,
    users: int | None = None,
    rate: float | None = None,
    dialect: str = "native",
    seed: int = 0,
) -> Load:
    """Send one request per problem.

    Args:
        users: closed loop: this many users, each with one request at a time.
        rate: open loop instead: this many requests per second, at random times (Poisson).
        seed: of the first request's thinking and of the arrival times; the next request has the next seed.

    Raises:
        RuntimeError: a request failed.
    """
    chosen, count, run = DIALECTS[dialect], len(problems), Run()
    send = _sender(
        server, [(chosen.path, chosen.body(template, one.prompt, seed + n)) for n, one in enumerate(problems)]
    )
    cpu_s = server.cpu_s()
    if rate is not None:
        await open_loop(send, arrivals(rate, count=count, duration_s=None, seed=seed), run)
    else:
        await closed_loop(send, run, users=users or 1, count=count, duration_s=None)
    cpu_s = server.cpu_s() - cpu_s
    outcomes = [
        outcome_of(
            sent, began_s=run.began_s, dialect=chosen, template=template, problem=problems[sent.number]
        )
        for sent in sorted(run.sent, key=lambda sent: sent.number)
    ]
    report = report_of(outcomes, run)
    if report.ok != count:
        raise RuntimeError(f"{count - report.ok} of {count} requests failed: {report}")
    return Load(outcomes=outcomes, report=report, cpu_s=cpu_s)


async def exchange_all(server: Server, requests: Sequence[Request], *, users: int) -> list[Exchange]:
    """Send all requests in their order, `users` at a time. Returns their exchanges in the same order."""
    run = Run()
    await closed_loop(_sender(server, requests), run, users=users, count=len(requests), duration_s=None)
    return [sent.exchange for sent in sorted(run.sent, key=lambda sent: sent.number)]


def _sender(server: Server, requests: Sequence[Request]) -> Send:
    target = Target(server.url, timeout_s=TIMEOUT_S)

    async def send(number: int) -> Exchange:
        path, body = requests[number]
        return await target.send(target.request(path, json.dumps(body).encode()))

    return send


def native_request(prompt: str, *, seed: int, budget: int | None = None, **fields: Any) -> Request:
    """A request of the native dialect. `fields` are further fields of the body."""
    native = DIALECTS["native"]
    return native.path, native.body(
        RequestTemplate(model=MODEL_NAME, budget=budget, extra_fields=fields), prompt, seed
    )


def response_of(exchange: Exchange) -> Response:
    """The response to a request that succeeded.

    Raises:
        RuntimeError: the server answered with an error, or the response is not complete.
    """
    response = parse_response(exchange)
    if response is None or response.status != 200 or exchange.failure is not None:
        raise RuntimeError(f"a request failed: {exchange.failure}, {response}")
    return response


def events_of(exchange: Exchange) -> list[tuple[float, ServerSentEvent]]:
    """The events of a stream, each with the seconds since the request was sent.

    Raises:
        RuntimeError: as for `response_of`.
    """
    response, decoder = response_of(exchange), Decoder()
    return [(at - exchange.sent_s, event) for at, piece in response.body for event in decoder.feed(piece)]
