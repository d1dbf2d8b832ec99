"""Records of measurements, as the documentation reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import families
import families_on_vllm
import pytest
import records


@pytest.mark.parametrize(
    ("name", "columns"), [("families", families.ROW), ("families_on_vllm", families_on_vllm.ROW)]
)
def test_record_has_the_columns_that_the_measurement_writes(name: str, columns: Sequence[str]) -> None:
    assert all([*row] == [*columns] for row in records.read_rows(name, columns))


def test_record_with_other_columns_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    assert records.read_rows("load", ["users", "tokens/s"]) == []
    (tmp_path / "load.json").write_text(json.dumps({"rows": [{"users": "1", "tokens/s": "9"}]}))
    assert records.read_rows("load", ["users", "tokens/s"]) == [{"users": "1", "tokens/s": "9"}]
    with pytest.raises(ValueError, match=r"users, tokens/s, but bench/load.py writes users, ttft"):
        records.read_rows("load", ["users", "ttft"])
