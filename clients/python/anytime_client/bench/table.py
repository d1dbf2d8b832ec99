"""A report, for people."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from anytime_client.bench.arguments import Plan
from anytime_client.bench.report import PERCENTILES, Accuracy, ClientLoad, Report
from anytime_client.printable import CONTROL, one_line

TIMES = {
    "time_to_first_token_s": "time to first token",
    "inter_token_s": "between pieces of text",
    "time_per_token_s": "time per token",
    "cut_to_answer_s": "cut to answer",
    "time_to_answer_s": "time to answer",
    "total_s": "total",
}
LONGEST = 400
"""Characters of what a server says."""
BUSY = 0.8
"""Of a core: beyond, the client may time itself."""


def show(report: Report, plan: Plan, *, model: str) -> None:
    """Print it."""
    console = Console(highlight=False, emoji=False)
    how = f"{plan.users} users" if plan.rate is None else f"{plan.rate:g} requests/s"
    console.print(Text(f"{model} at {plan.url}, {plan.dialect}: {how}, {report.wall_s:.1f} s"))
    console.print(_counts(report, plan))
    if report.times:
        console.print(_times(report))
    console.print(Text(_client(report.client), style="dim"))
    if report.client.cpu_share > BUSY:
        console.print(Text("The client was busy: it may have timed itself.", style="yellow"))
    if report.given_up:
        console.print(Text(f"Interrupted; {report.given_up} requests were under way, and are not counted."))


def _counts(report: Report, plan: Plan) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_row("requests", _said(f"{report.requests}: {report.ok} ok{_codes(report)}"))
    for code, message in report.messages.items():
        table.add_row("", _said(f"{code}: {message}", style="yellow"))
    table.add_row("throughput", f"{report.requests_per_s:.2f} requests/s, {report.tokens_per_s:.1f} tokens/s")
    if report.causes:
        causes = ", ".join(f"{cause} {n}" for cause, n in report.causes.items())
        table.add_row("thinking stopped by", _said(causes))
    if plan.budget is not None:
        table.add_row("over the budget", _must_be_0(report.over_budget))
    table.add_row("empty answers", _must_be_0(report.empty_answers))
    if plan.deadline_ms is not None:
        table.add_row("after the deadline", f"{report.late_answers} of {report.ok}")
    if report.accuracy is not None:
        table.add_row("accuracy", _accuracy(report.accuracy))
    return table


def _said(text: str, *, style: str = "") -> Text:
    """What has words of the server's in it."""
    line = one_line(text).translate(CONTROL)
    return Text(line if len(line) <= LONGEST else f"{line[:LONGEST]} ...", style=style)


def _codes(report: Report) -> str:
    def told(what: str, codes: Mapping[str, int]) -> str:
        each = ", ".join(f"{code} {count}" for code, count in codes.items())
        return f", {sum(codes.values())} {what} ({each})" if codes else ""

    return told("refused", report.refused) + told("failed", report.failed)


def _must_be_0(count: int) -> Text:
    return Text(str(count), style="bold red" if count else "none")


def _accuracy(accuracy: Accuracy) -> str:
    return f"{accuracy.value:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}] of {accuracy.n}"


def _times(report: Report) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("milliseconds", style="none")
    for percent in PERCENTILES:
        table.add_column(f"p{percent}", justify="right")
    for name, found in report.times.items():
        table.add_row(TIMES[name], *(f"{found[f'p{percent}'] * 1000:.1f}" for percent in PERCENTILES))
    return table


def _client(client: ClientLoad) -> str:
    return (
        f"The client took {client.cpu_share:.0%} of a core, and sent 99% of the requests "
        f"within {client.late_p99_s * 1000:.1f} ms of when they were due."
    )
