"""The command line: finds commands, imports nothing before it must, says what is not installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from anytime_server import __version__
from anytime_server.cli import COMMANDS, main

HEAVY = {"torch", "vllm", "transformers", "fastapi", "uvicorn", "starlette", "matplotlib", "numpy"}
"""Packages that take their time to import, or that the base install does not have."""

RUN = """
import json, sys
blocked, argv = json.loads(sys.argv[1])
for name in blocked:
    sys.modules[name] = None  # as if it were not installed
from anytime_server.cli import main
try:
    main(argv)
except SystemExit as ended:
    status = ended.code
else:
    status = None
loaded = sorted({name.partition(".")[0] for name, module in sys.modules.items() if module is not None})
print("\\n" + json.dumps([status, loaded]))
"""


def run(*argv: str, blocked: list[str] | None = None) -> tuple[int, set[str], str, str]:
    """Run the command in a process of its own: exit status, packages imported, output, errors."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps([blocked or [], argv])],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    output, _, last = done.stdout.rstrip().rpartition("\n")
    status, loaded = json.loads(last)
    return status, set(loaded), output, done.stderr


def exit_status(*argv: str) -> int | str | None:
    with pytest.raises(SystemExit) as exited:
        main(argv)
    return exited.value.code


@pytest.mark.parametrize("argv", [(), ("-h",), ("--help",)])
def test_help_lists_every_command(argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(*argv) == 0
    told = capsys.readouterr().out
    assert told.startswith("usage: anytime COMMAND")
    for name, (_, what, _) in COMMANDS.items():
        assert f"  {name} " in told
        assert what in told


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version_is_told(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(flag) == 0
    assert capsys.readouterr().out == f"anytime {__version__}\n"


@pytest.mark.parametrize("name", ["swerve", "--serve", ""])
def test_an_unknown_command_is_told_the_known_ones(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(name) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert f"no command {name!r}" in told.err
    for known in COMMANDS:
        assert known in told.err


def test_a_faulty_option_is_told_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status("serve", "--port", "eighty") == 2
    assert capsys.readouterr().err.startswith("anytime serve: --port: ")


def test_a_model_that_is_not_there_is_told_without_a_traceback() -> None:
    argv = ("serve", "--engine", "scripted", "--port", "0", "--model", "/no/such/folder")
    status, _, _, errors = run(*argv)
    assert (status, errors) == (1, "anytime serve: there is no folder /no/such/folder\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_needs_nothing_but_the_base_install(name: str) -> None:
    status, loaded, output, errors = run(name, "--help")
    assert status == 0
    assert f"usage: anytime {name}" in output
    assert errors == ""
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "argv",
    [
        ("serve", "--prot", "1"),
        ("ask",),
        ("ask", "hello", "--budget", "-1"),
        ("ask", "hello", "--budget", "x"),
    ],
)
def test_a_faulty_option_is_told_before_anything_is_loaded(argv: tuple[str, ...]) -> None:
    status, loaded, _, errors = run(*argv)
    assert status == 2
    assert f"anytime {argv[0]}: error: " in errors
    assert "invalid _" not in errors
    assert loaded.isdisjoint(HEAVY)


def told_missing(command: str, package: str, extra: str) -> str:
    return (
        f"anytime {command} needs {package}, which is not installed: "
        f"pip install 'anytime-reasoner[{extra}]'\n"
    )


@pytest.mark.parametrize("missing", ["uvicorn", "fastapi", "prometheus_client", "transformers"])
def test_serving_without_its_extra_says_which(missing: str, tiny_checkpoint: Path) -> None:
    argv = ("serve", "--engine", "scripted", "--port", "0", "--model", str(tiny_checkpoint))
    status, _, _, errors = run(*argv, blocked=[missing])
    assert (status, errors) == (1, told_missing("serve", missing, "vllm"))


def test_fetching_a_model_without_its_library_says_which() -> None:
    argv = ("serve", "--engine", "scripted", "--port", "0", "--model", "some/model")
    status, _, _, errors = run(*argv, blocked=["huggingface_hub"])
    assert (status, errors) == (1, told_missing("serve", "huggingface_hub", "vllm"))


def test_serving_without_vllm_says_so(tiny_checkpoint: Path) -> None:
    """All of the server's own needs are there; the engine's are found missing as it starts."""
    status, _, _, errors = run("serve", "--port", "0", "--model", str(tiny_checkpoint), blocked=["vllm"])
    assert (status, errors) == (1, told_missing("serve", "vllm", "vllm"))


def test_asking_without_its_library_says_which() -> None:
    status, _, _, errors = run("ask", "hello", blocked=["httpx2"])
    assert status == 1
    assert errors.startswith("anytime ask needs httpx2, which is not installed: pip install ")
