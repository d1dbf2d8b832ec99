"""The record of a run across its interruptions."""

import json
from pathlib import Path

import pytest
from anytime_training.progress import JsonLines, ProgressReport


def steps_in(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_lines_after_the_resumed_step_are_dropped(tmp_path: Path) -> None:
    metrics = JsonLines(tmp_path / "metrics.jsonl", from_step=0)
    for step in range(4):
        metrics.write({"step": step})
    metrics.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # the process was killed while writing
    metrics = JsonLines(tmp_path / "metrics.jsonl", from_step=2)
    assert steps_in(tmp_path) == [0, 1]
    metrics.write({"step": 2})
    assert steps_in(tmp_path) == [0, 1, 2], "a line can be read as soon as it is written"
    metrics.close()


def test_a_new_run_starts_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n')
    JsonLines(tmp_path / "metrics.jsonl", from_step=0).close()
    assert steps_in(tmp_path) == []


def test_without_a_terminal_there_are_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    report = ProgressReport(steps=5, first_step=0, line_every=2)
    for number in range(1, 6):
        report.step(number, f"loss {number}")
    report.close()
    assert capsys.readouterr().err.splitlines() == [
        "step 1/5  loss 1",
        "step 2/5  loss 2",
        "step 4/5  loss 4",
        "step 5/5  loss 5",
    ]
