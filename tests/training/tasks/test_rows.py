"""Rows written in each format and read back, and the errors of broken files."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from anytime_training.tasks.rows import UnreadableRows, read_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

ROWS: list[dict[str, Any]] = [
    {"q": "2+2?", "a": "4", "source": "x"},
    {"q": "Größe?\nJa", "a": "5", "source": None},
    {"q": "3+3?", "a": "6", "source": "y"},
]


def save_jsonl(rows: list[dict[str, Any]], path: Path) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def save_parquet(rows: list[dict[str, Any]], path: Path) -> Path:
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=2)
    return path


def save_csv(rows: list[dict[str, Any]], path: Path) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def save_to_disk(rows: list[dict[str, Any]], folder: Path) -> Path:
    """As `datasets` does: Arrow streams, and a state that names them. The second stream holds most rows."""
    folder.mkdir()
    table = pyarrow.Table.from_pylist(rows)
    names = ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
    for name, part in zip(names, (table.slice(0, 1), table.slice(1)), strict=True):
        with (
            pyarrow.OSFile(str(folder / name), "wb") as sink,
            pyarrow.ipc.new_stream(sink, table.schema) as out,
        ):
            out.write_table(part, max_chunksize=1)
    (folder / "dataset_info.json").write_text('{"features": {}}')
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    return folder


def values(path: Path, columns: tuple[str, ...] = ("q", "a")) -> list[tuple[Any, ...]]:
    return [row for _, row in read_rows(path, columns)]


EXPECTED = [(row["q"], row["a"]) for row in ROWS]


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    save_jsonl(ROWS[:1], folder / "part-0.jsonl")
    save_parquet(ROWS[1:], folder / "part-1.parquet")
    (folder / "README.md").write_text("not rows")
    for path in (
        save_jsonl(ROWS, tmp_path / "rows.jsonl"),
        save_jsonl(ROWS, tmp_path / "rows.json"),
        save_parquet(ROWS, tmp_path / "rows.parquet"),
        save_csv(ROWS, tmp_path / "rows.csv"),
        save_to_disk(ROWS, tmp_path / "saved"),
        folder,
    ):
        assert values(path) == EXPECTED, path
        assert values(path, ("a", "q", "a")) == [(a, q, a) for q, a in EXPECTED], path


def test_csv_is_text(tmp_path: Path) -> None:
    """Numbers keep leading zeros, and dates stay text."""
    path = save_csv([{"q": "007", "a": "2026-01-01"}, {"q": "1e3", "a": ""}], tmp_path / "rows.csv")
    assert values(path) == [("007", "2026-01-01"), ("1e3", "")]


def test_locations_name_file_and_row(tmp_path: Path) -> None:
    saved = save_to_disk(ROWS, tmp_path / "saved")
    assert [location for location, _ in read_rows(saved, ["q"])] == [
        f"{saved}/data-00000-of-00002.arrow, row 1",
        f"{saved}/data-00001-of-00002.arrow, row 1",
        f"{saved}/data-00001-of-00002.arrow, row 2",
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text('\n{"q": 1}\n\n{"q": 2}')
    assert list(read_rows(path, ["q"])) == [(f"{path}, line 2", (1,)), (f"{path}, line 4", (2,))]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_texts_survive(tmp_path_factory: pytest.TempPathFactory, given: list[tuple[str, str]]) -> None:
    folder = tmp_path_factory.mktemp("rows")
    rows = [{"q": q, "a": a} for q, a in given]
    assert values(save_jsonl(rows, folder / "rows.jsonl")) == given
    assert values(save_parquet(rows, folder / "rows.parquet")) == given
    assert values(save_to_disk(rows, folder / "saved")) == given


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("rows.jsonl", b'{"q": 1, "a": 2}\n{"q": 1,\n', "rows.jsonl, line 2: not JSON"),
        ("rows.jsonl", b'{"q": 1, "a": 2}\n[1]\n', "rows.jsonl, line 2: must be an object, not a list"),
        ("rows.jsonl", b'{"q": 1, "b": 2}', "rows.jsonl, line 1: no column 'a'; there is 'q', 'b'"),
        ("rows.jsonl", b"\xff\xfe", "rows.jsonl cannot be read"),
        ("rows.parquet", b"PAR1 or not", "rows.parquet is not Parquet"),
        (
            "rows.csv",
            b"q,a\n1,2\n3\n",
            "rows.csv is not CSV: CSV parse error: Row #3: Expected 2 columns, got 1",
        ),
        ("rows.csv", b"q,b\n1,2\n", "rows.csv: no column 'a'; there is 'q', 'b'"),
        (
            "rows.txt",
            b"q,a",
            "rows.txt must end in one of .jsonl, .json, .parquet, .csv, .arrow, or be a folder",
        ),
        ("folder/rows.txt", b"q,a", "folder has no file that ends in one of .jsonl, .json, .parquet, .csv"),
        ("folder/dataset_dict.json", b"{}", "folder holds several datasets; name one of them: "),
        ("folder/state.json", b"{}", "state.json is not what datasets writes"),
        ("folder/state.json", b'{"_data_files": [{"filename": "x.arrow"}]}', "x.arrow"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: bytes, fault: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(UnreadableRows, match=re.escape(fault)):
        values(path.parent if name.startswith("folder") else path)


def test_missing_files_and_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableRows, match=r"none\.jsonl does not exist"):
        values(tmp_path / "none.jsonl")
    for path in (save_parquet(ROWS, tmp_path / "rows.parquet"), save_to_disk(ROWS, tmp_path / "saved")):
        with pytest.raises(UnreadableRows, match="no column 'b'; there is 'q', 'a', 'source'"):
            values(path, ("q", "b"))
    broken = tmp_path / "rows.arrow"
    broken.write_bytes(b"nothing of the kind")
    with pytest.raises(UnreadableRows, match=r"rows\.arrow is not an Arrow stream"):
        values(broken)
