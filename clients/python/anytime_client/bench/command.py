"""The command itself: finds out what to ask, sends the load, and has it told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from anytime_client.bench.arguments import Plan, parse
from anytime_client.errors import ClientError

if TYPE_CHECKING:
    from rich.status import Status

    from anytime_client.bench.dialects import Ask
    from anytime_client.bench.load import Run, Send
    from anytime_client.bench.outcomes import Outcome
    from anytime_client.bench.problems import Problem

INTERRUPTED = 130
USAGE_ERROR = 2
WARMUP_SEEDS = 1_000_000
PROGRESS_S = 0.5
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(argv: Sequence[str]) -> int:
    """Run the command. Returns the exit status: 0, 1 if no request went well, 130 if interrupted."""
    plan = parse(argv)

    from anytime_client.bench.problems import UnusableProblems
    from anytime_client.bench.subject import UnknownModel

    try:
        return asyncio.run(_bench(plan))
    except (UnusableProblems, UnknownModel) as error:
        print(f"anytime bench: {error}", file=sys.stderr)
        return USAGE_ERROR
    except ClientError as error:
        print(f"anytime bench: {error}", file=sys.stderr)
        return 1


async def _bench(plan: Plan) -> int:
    from anytime_client.bench.dialects import DIALECTS, Ask
    from anytime_client.bench.outcomes import outcome_of
    from anytime_client.bench.report import report_of
    from anytime_client.bench.subject import find

    writers = _writers(plan)
    plan, model, problems = await find(plan)
    ask = Ask(
        model=model,
        budget=plan.budget,
        deadline_ms=plan.deadline_ms,
        max_tokens=plan.max_tokens,
        more=plan.more,
    )
    run = await _load(plan, ask, problems)
    outcomes = [
        outcome_of(
            sent,
            began_s=run.began_s,
            dialect=DIALECTS[plan.dialect],
            ask=ask,
            problem=problems[sent.number % len(problems)],
        )
        for sent in sorted(run.sent, key=lambda sent: sent.number)
    ]
    report = report_of(outcomes, run)
    if plan.json:
        print(json.dumps({"model": model, **asdict(report)}))
    else:
        from anytime_client.bench.table import show

        show(report, plan, model=model)
    for write in writers:
        write(outcomes)
    if run.interrupted:
        return INTERRUPTED
    return 0 if report.ok else 1


async def _load(plan: Plan, ask: Ask, problems: Sequence[Problem]) -> Run:
    from anytime_client.bench.dialects import DIALECTS
    from anytime_client.bench.exchange import Exchange, Target
    from anytime_client.bench.load import Run, arrivals, closed_loop, open_loop

    dialect = DIALECTS[plan.dialect]
    target = Target(plan.url, api_key=plan.api_key, timeout_s=plan.timeout_s)

    def sender(first: int) -> Send:
        async def send(number: int) -> Exchange:
            prompt = problems[number % len(problems)].prompt
            body = json.dumps(dialect.body(ask, prompt, plan.seed + first + number)).encode()
            return await target.send(target.request(dialect.path, body))

        return send

    run = Run()
    if plan.warmup:
        # From other seeds: all that measured requests may find in the server's cache is their prompt.
        warm = sender(WARMUP_SEEDS)
        await closed_loop(warm, Run(), users=plan.users, count=plan.warmup, duration_s=None)
    send, count, duration_s = sender(0), plan.requests, plan.duration_s
    run.interrupted = True
    with contextlib.suppress(asyncio.CancelledError), _stopped_by_signals(), _told_of(run):
        if plan.rate is None:
            await closed_loop(send, run, users=plan.users, count=count, duration_s=duration_s)
        else:
            times = arrivals(plan.rate, count=count, duration_s=duration_s, seed=plan.seed)
            await open_loop(send, times, run)
        run.interrupted = False
    return run


@contextlib.contextmanager
def _stopped_by_signals() -> Generator[None]:
    """Ctrl-C and SIGTERM cancel what runs within; once more, and they end the program."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def unset() -> None:
        for number in SIGNALS:
            loop.remove_signal_handler(number)

    def stop() -> None:
        unset()
        task.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        unset()


@contextlib.contextmanager
def _told_of(run: Run) -> Generator[None]:
    """How far it has come is told on a terminal now and then, in one line that goes at the end."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield
        return

    async def tell(status: Status) -> None:
        while True:
            status.update(f"{len(run.sent)} requests done, {run.num_under_way} under way")
            await asyncio.sleep(PROGRESS_S)

    with console.status("", spinner="line", refresh_per_second=1 / PROGRESS_S) as status:
        telling = asyncio.create_task(tell(status))
        try:
            yield
        finally:
            telling.cancel()


def _writers(plan: Plan) -> Sequence[Callable[[Sequence[Outcome]], None]]:
    """What writes the files, made beforehand: what it needs is not to be missed after the load."""
    writers: list[Callable[[Sequence[Outcome]], None]] = []
    if plan.csv is not None:
        from anytime_client.bench.rows import write_rows

        writers.append(partial(write_rows, plan.csv))
    if plan.plot is not None:
        from anytime_client.bench.plot import draw

        writers.append(partial(draw, plan.plot))
    return writers
