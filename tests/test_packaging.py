"""The wheel: its files, its metadata, and its base install without extras.

The wheel is built from the sdist, which shows that the sdist is complete.
"""

from __future__ import annotations

import email.message
import email.parser
import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from anytime_server import __version__
from anytime_server.cli import COMMANDS
from trove_classifiers import classifiers

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "anytime_server": ROOT / "server" / "anytime_server",
    "anytime_training": ROOT / "training" / "anytime_training",
    "anytime_client": ROOT / "clients" / "python" / "anytime_client",
}
FROM_EXTRAS = {
    "torch",
    "vllm",
    "transformers",
    "tokenizers",
    "safetensors",
    "fastapi",
    "uvicorn",
    "matplotlib",
}


def run(*command: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command outside the checkout, so that it imports nothing from there."""
    outside = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=outside, cwd="/", timeout=240
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def pip(programs: Path, *arguments: str | Path) -> str:
    """Run pip for another environment."""
    command = ("-m", "pip", "--disable-pip-version-check", "--python", programs / "python")
    return run(sys.executable, *command, *arguments).stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an sdist and the wheel built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    [wheel] = distributions.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def sources(distributions: Path) -> set[str]:
    """Paths of the files in the sdist."""
    [sdist] = distributions.glob("*.tar.gz")
    assert sdist.name == f"anytime_reasoner-{__version__}.tar.gz"
    with tarfile.open(sdist) as archive:
        return {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.parser.Parser().parsestr(archive.read(name).decode())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel and its requirements, without extras."""
    environment = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    programs = environment / "bin"
    pip(programs, "install", "--quiet", wheel)
    return programs


def test_the_wheel_is_named_after_the_version(wheel: Path) -> None:
    assert wheel.name == f"anytime_reasoner-{__version__}-py3-none-any.whl"


@pytest.mark.parametrize("package", PACKAGES)
def test_the_wheel_has_every_file_of_the_packages(names: set[str], package: str) -> None:
    folder = PACKAGES[package]
    files = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {f"{package}/__init__.py", f"{package}/py.typed"} <= files
    assert {name for name in names if name.startswith(f"{package}/")} == files


def test_the_wheel_has_no_other_packages(names: set[str]) -> None:
    assert {name.split("/")[0] for name in names} == set(PACKAGES)


def test_the_sdist_has_the_packages_and_their_build_files(sources: set[str]) -> None:
    for folder in PACKAGES.values():
        inside = folder.relative_to(ROOT).as_posix()
        assert f"{inside}/__init__.py" in sources
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "PKG-INFO"} <= sources
    tops = {name.partition("/")[0] for name in sources if "/" in name}
    assert tops == {"server", "training", "clients"}
    assert not any("__pycache__" in name or "node_modules" in name for name in sources)


def test_the_description_is_the_readme(metadata: email.message.Message) -> None:
    assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_bundled_checkpoint_is_complete(names: set[str]) -> None:
    demo = PACKAGES["anytime_server"] / "checkpoints" / "demo"
    if not demo.is_dir():
        pytest.skip("the checkpoint is not in this checkout")
    for name in ("config.json", "model.safetensors", "tokenizer.json", "anytime.json"):
        assert f"anytime_server/checkpoints/demo/{name}" in names


def test_the_metadata_is_complete(metadata: email.message.Message) -> None:
    assert metadata["Name"] == "anytime-reasoner"
    assert metadata["Version"] == __version__
    assert metadata["Summary"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert set(metadata.get_all("Provides-Extra", [])) == {"server", "vllm", "otel", "train", "gym", "models"}


def test_classifiers_are_valid_and_match_the_required_python(metadata: email.message.Message) -> None:
    given = metadata.get_all("Classifier", [])
    assert given
    assert set(given) <= set(classifiers)
    assert "Programming Language :: Python :: 3.11" in given
    assert "Programming Language :: Python :: 3.10" not in given
    assert "Typing :: Typed" in given


def test_every_extra_of_a_command_exists(metadata: email.message.Message) -> None:
    extras = {extra for command in COMMANDS.values() for extra in command.extra.split(",") if extra}
    assert extras <= set(metadata.get_all("Provides-Extra", []))


def test_the_wheel_contains_the_license(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
        assert archive.read(name) == (ROOT / "LICENSE").read_bytes()


def test_project_and_package_have_the_same_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == __version__


@pytest.mark.nightly
def test_the_base_install_has_no_packages_of_extras(installed: Path) -> None:
    listed = json.loads(pip(installed, "list", "--format", "json"))
    packages = {package["name"].lower() for package in listed}
    assert {"anytime-reasoner", "httpx2", "pydantic", "rich"} <= packages
    assert packages.isdisjoint(FROM_EXTRAS)
    pip(installed, "check")


@pytest.mark.nightly
def test_every_command_has_help_in_the_base_install(installed: Path) -> None:
    overview = run(installed / "anytime", "--help").stdout
    for name in COMMANDS:
        assert f"  {name} " in overview
        assert f"usage: anytime {name}" in run(installed / "anytime", name, "--help").stdout


@pytest.mark.nightly
def test_ask_works_in_the_base_install(installed: Path) -> None:
    done = run(installed / "anytime", "ask", "hello", "--url", "http://127.0.0.1:9", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("anytime ask: no server answers at http://127.0.0.1:9")


@pytest.mark.nightly
def test_serve_names_its_extra_in_the_base_install(installed: Path) -> None:
    done = run(installed / "anytime", "serve", "--port", "0", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("anytime serve needs ")
    assert done.stderr.endswith("which is not installed: pip install 'anytime-reasoner[vllm]'\n")
