"""The folder for the temporary files of a server."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from anytime_server.server.temporary import PREFIX, own_temporary_folder


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "elsewhere")
    return tmp_path


def test_temporary_files_go_into_the_folder_and_are_removed_with_it(parent: Path) -> None:
    with own_temporary_folder():
        folder = Path(tempfile.gettempdir())
        assert folder.parent == parent
        assert os.environ["TMPDIR"] == str(folder)
        (folder / "socket").touch()
    assert list(parent.iterdir()) == []
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(parent)


def test_only_folders_of_servers_that_have_ended_are_removed(parent: Path) -> None:
    abandoned, strange = parent / f"{PREFIX}old", parent / "other"
    for folder in (abandoned, strange):
        folder.mkdir()
        (folder / "lock").touch()
    with own_temporary_folder():
        assert not abandoned.exists()
        assert strange.exists()
        living = Path(tempfile.gettempdir())
        tempfile.tempdir = str(parent)
        with own_temporary_folder():
            assert living.exists()


def test_without_a_place_for_it_there_is_no_folder(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(parent / "missing"))
    with own_temporary_folder():
        assert tempfile.gettempdir() == str(parent / "missing")
