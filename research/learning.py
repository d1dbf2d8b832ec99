"""Does training for every budget help? Series of runs, compared after the same number of steps.

    python research/learning.py tune countdown --workers 2     # the learning rate of each row
    python research/learning.py train countdown --workers 2    # all rows and seeds; resumes unfinished runs
    python research/learning.py report countdown               # intervals, predictions, plot

A series is a file in research/series. Its runs are in runs/learning/SERIES while they train. Each run that
finishes is evaluated at once on the held-out problems, and leaves one small file in
research/results/learning/SERIES; the report reads these files alone. `measure` evaluates trained runs again.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from recording import RESULTS, ROOT, write_record
from series.held_out import record_path, write_run_record
from series.report import curves, report, table
from series.runs import Run, in_parallel, start, train
from series.table import START, Series, read_series
from series.tuning import learning_rate_of, tune


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Where runs train, and where their files are."""

    out: Path
    results: Path


def run_of(series: Series, row: str, seed: int, folders: Folders) -> Run:
    """A run of the series, or its start."""
    rate = None if row == START else learning_rate_of(series, row, results=folders.results)
    folder = folders.out / series.name / f"{row}-{seed}"
    return Run(series=series, row=row, seed=seed, learning_rate=rate, folder=folder)


def train_and_measure(run: Run, folders: Folders) -> str | None:
    """Train a run and evaluate it, unless its file exists; None, or what went wrong."""
    if record_path(run.series, run.row, run.seed, results=folders.results).exists():
        return None
    failure = None if run.row == START else train(run)
    if failure is not None:
        return failure
    series = str(run.series.folder / f"{run.series.name}.toml")
    command = [sys.executable, str(Path(__file__)), "measure", series, "--rows", run.row]
    command += ["--seeds", str(run.seed), "--out", str(folders.out), "--results", str(folders.results)]
    return start(command, environment={}, log=run.folder / "log.txt")


def write_report(series: Series, folders: Folders) -> None:
    """Write the series' record and plot, and print its main figures."""
    from plots import plot_learning

    record = report(series, results=folders.results)
    write_record(folders.results / series.record, record)
    if series.plot:
        shown = curves(series, results=folders.results)
        plot_learning(record, shown, ROOT / "docs" / series.plot, shown=series.shown)
    print("\n".join(table(record)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("tune", "train", "measure", "report"))
    parser.add_argument("series", help="name of a file in research/series, or its path")
    parser.add_argument("--rows", nargs="+", help="default: all rows")
    parser.add_argument("--seeds", nargs="+", type=int, help="default: the series' seeds")
    parser.add_argument("--workers", type=int, default=1, help="concurrent runs (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/learning"), help="default: %(default)s")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    arguments = parser.parse_args()
    series = read_series(arguments.series)
    folders = Folders(out=arguments.out, results=arguments.results)
    rows, seeds = arguments.rows or list(series.rows), arguments.seeds or series.seeds
    if unknown := set(rows) - {*series.rows, START}:
        parser.error(f"{series.name} has no row {', '.join(sorted(unknown))}")
    if arguments.what == "report":
        write_report(series, folders)
        return
    if arguments.what == "tune":
        out, results = folders.out / series.name, folders.results
        sys.exit(not tune(series, rows, out=out, workers=arguments.workers, results=results))
    # By seed first, so that the runs that finish first can be compared.
    runs = [run_of(series, row, seed, folders) for seed in seeds for row in rows]
    if arguments.what == "measure":
        for run in runs:
            write_run_record(run, results=folders.results)
        return
    went_well = in_parallel(
        [run_of(series, START, 0, folders), *runs],
        lambda run: train_and_measure(run, folders),
        workers=arguments.workers,
        name=lambda run: f"{run.row} seed {run.seed}",
    )
    sys.exit(not went_well)


if __name__ == "__main__":
    main()
