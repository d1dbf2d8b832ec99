"""The command line: its commands, what they import, and missing packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from anytime_server import __version__
from anytime_server.cli import COMMANDS, main

HEAVY = {"torch", "vllm", "transformers", "fastapi", "uvicorn", "starlette", "matplotlib", "numpy"}
"""Packages that are slow to import or missing from the base install."""

RUN = """
import json, sys
blocked, argv = json.loads(sys.argv[1])
for name in blocked:
    sys.modules[name] = None  # as if not installed
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
    """Run the command in its own process. Returns its exit status, imported packages, output and errors."""
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
    output = capsys.readouterr().out
    assert output.startswith("usage: anytime COMMAND")
    for name, command in COMMANDS.items():
        assert f"  {name} " in output
        assert command.help in output


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(flag) == 0
    assert capsys.readouterr().out == f"anytime {__version__}\n"


@pytest.mark.parametrize("name", ["swerve", "--serve", ""])
def test_an_unknown_command_lists_the_known_ones(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(name) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"no command {name!r}" in captured.err
    for known in COMMANDS:
        assert known in captured.err


def test_an_invalid_option_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status("serve", "--port", "eighty") == 2
    assert capsys.readouterr().err.startswith("anytime serve: --port: ")


@pytest.mark.parametrize("argv", [("a", "b"), ("--prot", "1")])
def test_wrong_use_of_inspect_shows_its_own_usage(
    argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status("inspect", *argv) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("usage: anytime inspect [MODEL]")
    assert "\nanytime inspect: error: unrecognized arguments: " in errors
    assert "serve" not in errors


def test_a_missing_model_is_one_line() -> None:
    argv = ("serve", "--engine", "scripted", "--port", "0", "--model", "/no/such/folder")
    status, _, _, errors = run(*argv)
    assert (status, errors) == (1, "anytime serve: there is no folder /no/such/folder\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_needs_only_the_base_install(name: str) -> None:
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
def test_an_invalid_option_is_refused_before_heavy_imports(argv: tuple[str, ...]) -> None:
    status, loaded, _, errors = run(*argv)
    assert status == 2
    assert f"anytime {argv[0]}: error: " in errors
    assert "invalid _" not in errors
    assert loaded.isdisjoint(HEAVY)


def missing_message(command: str, package: str, extra: str) -> str:
    return (
        f"anytime {command} needs {package}, which is not installed: "
        f"pip install 'anytime-reasoner[{extra}]'\n"
    )


@pytest.mark.parametrize(
    "missing",
    [
        "uvicorn",
        pytest.param("fastapi", marks=pytest.mark.nightly),
        "prometheus_client",
        "transformers",
        "itsdangerous",
        "pythonjsonlogger",
    ],
)
def test_serving_without_its_extra_names_it(missing: str, tiny_checkpoint: Path) -> None:
    argv = ("serve", "--engine", "scripted", "--port", "0", "--model", str(tiny_checkpoint))
    status, _, _, errors = run(*argv, blocked=[missing])
    assert (status, errors) == (1, missing_message("serve", missing, "vllm"))


def test_downloading_a_model_without_its_library_names_the_extra() -> None:
    argv = ("serve", "--engine", "scripted", "--port", "0", "--model", "some/model")
    status, _, _, errors = run(*argv, blocked=["huggingface_hub"])
    assert (status, errors) == (1, missing_message("serve", "huggingface_hub", "vllm"))


@pytest.mark.nightly
def test_serving_without_vllm_names_the_extra(tiny_checkpoint: Path) -> None:
    """The server starts, and the engine finds its package missing."""
    status, _, _, errors = run("serve", "--port", "0", "--model", str(tiny_checkpoint), blocked=["vllm"])
    assert (status, errors) == (1, missing_message("serve", "vllm", "vllm"))


def test_asking_without_its_library_names_it() -> None:
    status, _, _, errors = run("ask", "hello", blocked=["httpx2"])
    assert status == 1
    assert errors.startswith("anytime ask needs httpx2, which is not installed: pip install ")
