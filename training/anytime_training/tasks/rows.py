"""Columns of a file of rows: JSON lines, Parquet, CSV, and folders that Hugging Face `datasets` saved.

Knows columns and rows, not what is in them. An error names the file and, where there is one, column and row.

JSON is read line by line with the standard library. pyarrow's reader, which `datasets` uses as well, changes
values silently (whole numbers over 64 bits become floats, texts that look like dates become dates) and
reports no line numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROW_FILES = (".jsonl", ".json", ".parquet", ".csv")
"""Suffixes of the files that are read in a folder."""

ARROW_FORMATS = {".parquet": "Parquet", ".csv": "CSV", ".arrow": "an Arrow stream"}
"""Suffixes that pyarrow reads, and what each should be."""


class UnreadableRows(Exception):
    """A file that cannot be read as rows; the message names it."""


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Each row's location, such as `data.jsonl, line 3`, and its values in those columns.

    Args:
        path: a file, a folder of files, or a folder that `datasets.Dataset.save_to_disk` wrote.

    Raises:
        UnreadableRows: there is nothing there, it is broken, or a column is missing.
    """
    if not path.exists():
        raise UnreadableRows(f"{path} does not exist")
    for file in _files(path):
        try:
            yield from (_arrow_rows if file.suffix in ARROW_FORMATS else _json_rows)(file, columns)
        except (OSError, UnicodeDecodeError) as error:
            raise UnreadableRows(f"{file} cannot be read: {error}") from error


def _files(path: Path) -> list[Path]:
    if path.is_file():
        suffixes = (*ROW_FILES, ".arrow")
        if path.suffix not in suffixes:
            raise UnreadableRows(f"{path} must end in one of {', '.join(suffixes)}, or be a folder")
        return [path]
    if (path / "dataset_dict.json").exists():
        names = sorted(child.name for child in path.iterdir() if child.is_dir())
        raise UnreadableRows(f"{path} holds several datasets; name one of them: {', '.join(names)}")
    if (path / "state.json").exists():
        try:
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            return [path / entry["filename"] for entry in state["_data_files"]]
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadableRows(f"{path / 'state.json'} is not what datasets writes: {error}") from error
    files = sorted(child for child in path.iterdir() if child.suffix in ROW_FILES and child.is_file())
    if not files:
        raise UnreadableRows(f"{path} has no file that ends in one of {', '.join(ROW_FILES)}")
    return files


def _json_rows(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            location = f"{file}, line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UnreadableRows(f"{location}: not JSON, one object to a line: {error}") from error
            if not isinstance(row, dict):
                raise UnreadableRows(f"{location}: must be an object, not a {type(row).__name__}")
            _require_columns(location, row, columns)
            yield location, tuple(row[column] for column in columns)


def _arrow_rows(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    import pyarrow
    from pyarrow import csv, parquet

    try:
        with pyarrow.memory_map(str(file)) as source:
            match file.suffix:
                case ".parquet":
                    opened = parquet.ParquetFile(source)
                    _require_columns(str(file), opened.schema_arrow.names, columns)
                    table = opened.read([*dict.fromkeys(columns)])
                case ".csv":
                    table = csv.read_csv(
                        source,
                        csv.ReadOptions(use_threads=False),  # with threads, an error names no row
                        csv.ParseOptions(newlines_in_values=True),
                        csv.ConvertOptions(column_types=dict.fromkeys(columns, pyarrow.string())),
                    )
                case _:
                    table = pyarrow.ipc.open_stream(source).read_all()
        _require_columns(str(file), table.column_names, columns)
        rows = zip(*(table.column(column).to_pylist() for column in columns), strict=True)
    except pyarrow.ArrowException as error:
        raise UnreadableRows(f"{file} is not {ARROW_FORMATS[file.suffix]}: {error}") from error
    yield from ((f"{file}, row {number}", values) for number, values in enumerate(rows, 1))


def _require_columns(location: str, present: Any, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in present:
            raise UnreadableRows(
                f"{location}: no column {column!r}; there is {', '.join(map(repr, present))}"
            )
