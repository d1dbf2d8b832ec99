"""The command: sends the load and reports the outcome."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from anytime_client.bench.arguments import Arguments, parse
from anytime_client.errors import ClientError
from anytime_client.terminal_text import print_error

if TYPE_CHECKING:
    from rich.status import Status

    from anytime_client.bench.dialects import RequestTemplate
    from anytime_client.bench.load import Run, Send
    from anytime_client.bench.outcomes import Outcome
    from anytime_client.bench.problems import Problem

INTERRUPTED = 130
USAGE_ERROR = 2
WARMUP_SEED_OFFSET = 1_000_000
PROGRESS_INTERVAL_S = 0.5
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(argv: Sequence[str]) -> int:
    """Run the command. Returns the exit status: 0, 1 if no request succeeded, 130 if interrupted."""
    arguments = parse(argv)

    from anytime_client.bench.discovery import UnknownModel
    from anytime_client.bench.problems import InvalidProblems

    try:
        return asyncio.run(_bench(arguments))
    except (InvalidProblems, UnknownModel) as error:
        print_error("bench", error)
        return USAGE_ERROR
    except ClientError as error:
        print_error("bench", error)
        return 1


async def _bench(arguments: Arguments) -> int:
    from anytime_client.bench.dialects import DIALECTS, RequestTemplate
    from anytime_client.bench.discovery import discover
    from anytime_client.bench.outcomes import outcome_of
    from anytime_client.bench.report import report_of

    writers = _writers(arguments)
    arguments, model, problems = await discover(arguments)
    template = RequestTemplate(
        model=model,
        budget=arguments.budget,
        deadline_ms=arguments.deadline_ms,
        max_tokens=arguments.max_tokens,
        extra_fields=arguments.extra_fields,
    )
    run = await _load(arguments, template, problems)
    outcomes = [
        outcome_of(
            sent,
            began_s=run.began_s,
            dialect=DIALECTS[arguments.dialect],
            template=template,
            problem=problems[sent.number % len(problems)],
        )
        for sent in sorted(run.sent, key=lambda sent: sent.number)
    ]
    report = report_of(outcomes, run)
    if arguments.json:
        print(json.dumps({"model": model, **asdict(report)}))
    else:
        from anytime_client.bench.table import print_report

        print_report(report, arguments, model=model)
    for write in writers:
        write(outcomes)
    if run.interrupted:
        return INTERRUPTED
    return 0 if report.ok else 1


async def _load(arguments: Arguments, template: RequestTemplate, problems: Sequence[Problem]) -> Run:
    from anytime_client.bench.dialects import DIALECTS
    from anytime_client.bench.exchange import Exchange, Target
    from anytime_client.bench.load import Run, arrivals, closed_loop, open_loop

    dialect = DIALECTS[arguments.dialect]
    target = Target(arguments.url, api_key=arguments.api_key, timeout_s=arguments.timeout_s)

    def sender(first_seed: int) -> Send:
        async def send(number: int) -> Exchange:
            prompt = problems[number % len(problems)].prompt
            body = json.dumps(dialect.body(template, prompt, first_seed + number)).encode()
            return await target.send(target.request(dialect.path, body))

        return send

    run = Run()
    if arguments.warmup:
        # Other seeds, so that the server's cache has at most the prompts of the measured requests.
        warm_up = sender(arguments.seed + WARMUP_SEED_OFFSET)
        await closed_loop(warm_up, Run(), users=arguments.users, count=arguments.warmup, duration_s=None)
    send, count, duration_s = sender(arguments.seed), arguments.requests, arguments.duration_s
    run.interrupted = True
    with contextlib.suppress(asyncio.CancelledError), _cancelled_by_signals(), _showing_progress(run):
        if arguments.rate is None:
            await closed_loop(send, run, users=arguments.users, count=count, duration_s=duration_s)
        else:
            times = arrivals(arguments.rate, count=count, duration_s=duration_s, seed=arguments.seed)
            await open_loop(send, times, run)
        run.interrupted = False
    return run


@contextlib.contextmanager
def _cancelled_by_signals() -> Generator[None]:
    """The first SIGINT or SIGTERM cancels the block; a second one ends the program."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def restore() -> None:
        for number in SIGNALS:
            loop.remove_signal_handler(number)

    def stop() -> None:
        restore()
        task.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        restore()


@contextlib.contextmanager
def _showing_progress(run: Run) -> Generator[None]:
    """Show the progress on a terminal, in one line that is removed at the end."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield
        return

    async def update(status: Status) -> None:
        while True:
            status.update(f"{len(run.sent)} requests done, {run.num_in_flight} in flight")
            await asyncio.sleep(PROGRESS_INTERVAL_S)

    with console.status("", spinner="line", refresh_per_second=1 / PROGRESS_INTERVAL_S) as status:
        updater = asyncio.create_task(update(status))
        try:
            yield
        finally:
            updater.cancel()


def _writers(arguments: Arguments) -> Sequence[Callable[[Sequence[Outcome]], None]]:
    """Functions that write the output files. Made before the run, so that a missing library fails early."""
    writers: list[Callable[[Sequence[Outcome]], None]] = []
    if arguments.csv is not None:
        from anytime_client.bench.rows import write_rows

        writers.append(partial(write_rows, arguments.csv))
    if arguments.plot is not None:
        from anytime_client.bench.plot import draw

        writers.append(partial(draw, arguments.plot))
    return writers
