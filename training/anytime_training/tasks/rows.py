"""Reading two columns of a file of rows: JSON lines, Parquet, and what `datasets` saves to disk.

Knows columns and rows, not what is in them. Says which file, column and row a fault is in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

ROW_FILES = (".jsonl", ".json", ".parquet")
"""Ends of names of files with rows, as they are found in a folder."""


class UnreadableRows(Exception):
    """A file that cannot be read as rows; the message names it."""


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Each row's place, such as `data.jsonl, row 3`, and its values in those columns.

    Args:
        path: a file, a folder of files, or a folder that `datasets.Dataset.save_to_disk` wrote.

    Raises:
        UnreadableRows: there is nothing there, it is broken, or a column is missing.
    """
    if not path.exists():
        raise UnreadableRows(f"{path} does not exist")
    for file in _files(path):
        try:
            yield from _READERS[file.suffix](file, columns)
        except (OSError, UnicodeDecodeError) as error:
            raise UnreadableRows(f"{file} cannot be read: {error}") from error


def _files(path: Path) -> list[Path]:
    if path.is_file():
        if path.suffix not in _READERS:
            raise UnreadableRows(f"{path} must end in one of {', '.join(_READERS)}, or be a folder")
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
            place = f"{file}, line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UnreadableRows(f"{place}: not JSON, one object to a line: {error}") from error
            if not isinstance(row, dict):
                raise UnreadableRows(f"{place}: must be an object, not a {type(row).__name__}")
            _need_columns(place, row, columns)
            yield place, tuple(row[column] for column in columns)


def _parquet_rows(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as source:
            _need_columns(str(file), source.schema_arrow.names, columns)
            batches = source.iter_batches(columns=[*dict.fromkeys(columns)])
            yield from _batch_rows(file, batches, columns)
    except pyarrow.ArrowException as error:
        raise UnreadableRows(f"{file} is not Parquet: {error}") from error


def _arrow_rows(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    import pyarrow

    try:
        with pyarrow.memory_map(str(file)) as source, pyarrow.ipc.open_stream(source) as batches:
            _need_columns(str(file), batches.schema.names, columns)
            yield from _batch_rows(file, batches, columns)
    except pyarrow.ArrowException as error:
        raise UnreadableRows(f"{file} is not an Arrow stream: {error}") from error


def _batch_rows(
    file: Path, batches: Iterator[pyarrow.RecordBatch], columns: Sequence[str]
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    number = 0
    for batch in batches:
        for values in zip(*(batch.column(column).to_pylist() for column in columns), strict=True):
            number += 1
            yield f"{file}, row {number}", values


def _need_columns(place: str, present: Any, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in present:
            raise UnreadableRows(f"{place}: no column {column!r}; there is {', '.join(map(repr, present))}")


_READERS = {".jsonl": _json_rows, ".json": _json_rows, ".parquet": _parquet_rows, ".arrow": _arrow_rows}
