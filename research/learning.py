"""Does training for every budget help? Series of runs, compared after the same number of steps.

    python research/learning.py tune countdown --workers 2     # the learning rate of each row
    python research/learning.py train countdown --workers 2    # all rows and seeds; resumes unfinished runs
    python research/learning.py report countdown               # intervals, predictions, plot

A series is a file in research/series. Its runs are in runs/learning/SERIES while they train. Each run that
finishes is evaluated at once on the held-out problems, and leaves one small file in
research/results/learning/SERIES; the report reads these files alone. `measure` does that for a single run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recording import RESULTS, ROOT, write_record
from series.held_out import record_path, write_run_record
from series.report import curves, report, table
from series.runs import Run, in_parallel, start, train
from series.table import START, Series, read_series
from series.tuning import learning_rate_of, tune


def run_of(series: Series, row: str, seed: int, *, out: Path) -> Run:
    """A run of the series, or its start."""
    return Run(
        series=series,
        row=row,
        seed=seed,
        learning_rate=None if row == START else learning_rate_of(series, row),
        folder=out / series.name / f"{row}-{seed}",
    )


def train_and_measure(run: Run, *, out: Path) -> str | None:
    """Train a run and evaluate it, unless its file exists; None, or what went wrong."""
    if record_path(run.series, run.row, run.seed).exists():
        return None
    failure = None if run.row == START else train(run)
    if failure is not None:
        return failure
    series = str(run.series.folder / f"{run.series.name}.toml")
    command = [sys.executable, str(Path(__file__)), "measure", series, "--out", str(out)]
    command += ["--rows", run.row, "--seeds", str(run.seed)]
    return start(command, environment={}, log=run.folder / "log.txt")


def runs_of(series: Series, rows: list[str], seeds: list[int], *, out: Path) -> list[Run]:
    """All runs, ordered by seed first, so that the runs that finish first can be compared."""
    return [run_of(series, row, seed, out=out) for seed in seeds for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("tune", "train", "measure", "report"))
    parser.add_argument("series", help="name of a file in research/series, or its path")
    parser.add_argument("--rows", nargs="+", help="default: all rows")
    parser.add_argument("--seeds", nargs="+", type=int, help="default: the series' seeds")
    parser.add_argument("--out", type=Path, default=Path("runs/learning"), help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=1, help="concurrent runs (default: %(default)s)")
    arguments = parser.parse_args()
    series = read_series(arguments.series)
    rows, out = arguments.rows or list(series.rows), arguments.out
    if unknown := set(rows) - {*series.rows, START}:
        parser.error(f"{series.name} has no row {', '.join(sorted(unknown))}")
    seeds = arguments.seeds or series.seeds
    if arguments.what == "report":
        write_report(series)
        return
    if arguments.what == "measure":
        for run in runs_of(series, rows, seeds, out=out):
            write_run_record(run)
        return
    if arguments.what == "tune":
        went_well = tune(series, rows, out=out / series.name, workers=arguments.workers)
    else:
        runs = [run_of(series, START, 0, out=out), *runs_of(series, rows, seeds, out=out)]
        went_well = in_parallel(
            runs,
            lambda run: train_and_measure(run, out=out),
            workers=arguments.workers,
            name=lambda run: f"{run.row} seed {run.seed}",
        )
    sys.exit(0 if went_well else 1)


def write_report(series: Series) -> None:
    """Write the series' record and plot, and print its main figures."""
    from plots import plot_learning

    record = report(series)
    write_record(RESULTS / series.record, record)
    if series.plot:
        plot_learning(record, curves(series), ROOT / "docs" / series.plot, shown=series.shown)
    print("\n".join(table(record)))


if __name__ == "__main__":
    main()
