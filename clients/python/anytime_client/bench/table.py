"""Prints a report as a table."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from anytime_client.bench.arguments import Arguments
from anytime_client.bench.report import PERCENTILES, Accuracy, ClientLoad, Report
from anytime_client.terminal_text import message_line

TIMES = {
    "time_to_first_token_s": "time to first token",
    "inter_token_s": "between deltas",
    "time_per_token_s": "time per token",
    "cut_to_answer_s": "end of thinking to answer",
    "time_to_answer_s": "time to answer",
    "total_s": "total",
}
BUSY = 0.8
"""Share of a core above which the client's own delays may distort the times."""


def print_report(report: Report, arguments: Arguments, *, model: str) -> None:
    """Print the report."""
    console = Console(highlight=False, emoji=False)
    load = f"{arguments.users} users" if arguments.rate is None else f"{arguments.rate:g} requests/s"
    console.print(
        _from_server(f"{model} at {arguments.url}, {arguments.dialect}: {load}, {report.wall_s:.1f} s")
    )
    console.print(_counts(report, arguments))
    if report.times:
        console.print(_times(report))
    console.print(Text(_client(report.client), style="dim"))
    if report.client.cpu_share > BUSY:
        console.print(Text("The client was busy: its own delays may distort the times.", style="yellow"))
    if report.given_up:
        console.print(Text(f"Interrupted: {report.given_up} requests in flight are not counted."))


def _counts(report: Report, arguments: Arguments) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_row("requests", _from_server(f"{report.requests}: {report.ok} ok{_codes(report)}"))
    for code, message in report.messages.items():
        table.add_row("", _from_server(f"{code}: {message}", style="yellow"))
    table.add_row("throughput", f"{report.requests_per_s:.2f} requests/s, {report.tokens_per_s:.1f} tokens/s")
    if report.causes:
        causes = ", ".join(f"{cause} {n}" for cause, n in report.causes.items())
        table.add_row("thinking stopped by", _from_server(causes))
    if arguments.budget is not None:
        table.add_row("over the budget", _must_be_zero(report.over_budget))
    table.add_row("empty answers", _must_be_zero(report.empty_answers))
    if arguments.deadline_ms is not None:
        table.add_row("after the deadline", f"{report.late_answers} of {report.ok}")
    if report.accuracy is not None:
        table.add_row("accuracy", _accuracy(report.accuracy))
    return table


def _from_server(text: str, *, style: str = "") -> Text:
    """Text that contains text of the server."""
    return Text(message_line(text), style=style)


def _codes(report: Report) -> str:
    def listed(verdict: str, codes: Mapping[str, int]) -> str:
        counts = ", ".join(f"{code} {count}" for code, count in codes.items())
        return f", {sum(codes.values())} {verdict} ({counts})" if codes else ""

    return listed("refused", report.refused) + listed("failed", report.failed)


def _must_be_zero(count: int) -> Text:
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
        f"The client used {client.cpu_share:.0%} of a core, and sent 99% of the requests "
        f"at most {client.late_p99_s * 1000:.1f} ms late."
    )
