"""Runs one code block of the documentation: its commands, program, request or configuration."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anytime_server.reasoning import Manifest
from anytime_server.server.settings import ServeSettings
from anytime_training.config import load_recipe

from .commands import commands_of, shortened
from .outputs import matches
from .serve_briefly import SERVE_BRIEFLY, serve_briefly
from .snippets import Snippet

ROOT = Path(__file__).parent.parent.parent
ESBUILD = ROOT / "clients" / "typescript" / "node_modules" / ".bin" / "esbuild"
MESSAGES = [
    {"role": "user", "content": "What is the last digit of 3 minus 3 plus 1 plus 4 times 7, left to right?"}
]
LIMIT_S = 120


def copy_of_root(folder: Path) -> Path:
    """Fill an empty folder with links to the files of the repository's root, without `runs/`."""
    for path in ROOT.iterdir():
        if path.name != "runs":
            (folder / path.name).symlink_to(path)
    return folder


def run_snippet(snippet: Snippet, folder: Path, url: str, *, continuation: Callable[[], str]) -> None:
    """Run a block in a folder.

    Args:
        url: of the server that stands for `127.0.0.1:8000`.
        continuation: makes a continuation token of that server.
    """
    match snippet.language:
        case "python":
            program = snippet.text.replace("http://127.0.0.1:8000", url)
            _run([sys.executable, "-c", program], folder, shows=snippet.output, allow_stderr=False)
        case "ts" | "typescript":
            _run_typescript(snippet, folder, url)
        case "" | "bash" | "console" | "sh":
            _run_commands(snippet, folder, url)
        case "json" if snippet.marker == "file":
            Manifest.model_validate_json(snippet.text)
            (folder / snippet.value).write_text(snippet.text, encoding="utf-8")
        case "json":
            _check_json(snippet, url, continuation)
        case "toml":
            _check_toml(snippet, folder)
        case "text":
            assert "\n$ " not in f"\n{snippet.text}", "commands belong in a console block"
        case language:
            pytest.fail(f"{language} blocks cannot be run")


def _run(command: list[str], folder: Path, *, shows: str | None = None, allow_stderr: bool = True) -> None:
    path = f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert allow_stderr or not done.stderr, done.stderr
    assert shows is None or matches(shows, done.stdout), f"the output is:\n{done.stdout}"


def _run_commands(snippet: Snippet, folder: Path, url: str) -> None:
    commands = commands_of(snippet.text)
    assert commands, "the block has no command"
    if len(commands) == 1 or any(command.output for command in commands):
        for command in commands:
            _run_script([shortened(command.text, url)], folder, shows=command.output or snippet.output)
    else:
        _run_script([shortened(command.text, url) for command in commands], folder, shows=snippet.output)


def _run_script(commands: list[str], folder: Path, *, shows: str | None) -> None:
    """Run commands in one shell; those that start a server are the last."""
    in_shell = list(itertools.takewhile(lambda command: not command.startswith(SERVE_BRIEFLY), commands))
    if in_shell:
        _run(["bash", "-ec", "\n".join(in_shell)], folder, shows=shows)
    for command in commands[len(in_shell) :]:
        serve_briefly(command, folder)


def _run_typescript(snippet: Snippet, folder: Path, url: str) -> None:
    assert ESBUILD.exists(), "run `npm ci` in clients/typescript first"
    bundle = folder / "snippet.mjs"
    client = ROOT / "clients" / "typescript" / "src" / "index.ts"
    options = ["--bundle", "--platform=node", "--format=esm", "--loader=ts", f"--outfile={bundle}"]
    subprocess.run(
        [ESBUILD, *options, f"--alias:anytime-client={client}", "--log-level=error"],
        cwd=ROOT / "clients" / "typescript",
        input=snippet.text.replace("http://127.0.0.1:8000", url),
        text=True,
        check=True,
    )
    _run(["node", str(bundle)], folder, shows=snippet.output, allow_stderr=False)


def _check_json(snippet: Snippet, url: str, continuation: Callable[[], str]) -> None:
    text = re.sub(r"\[\.\.\.\]", lambda _: json.dumps(MESSAGES), snippet.text)
    text = text.replace("{...}", '{"type": "integer"}')
    if '"a1.eJx..."' in text:
        text = text.replace("a1.eJx...", continuation())
    body: dict[str, Any] = json.loads(text)
    if snippet.marker == "post":
        path = snippet.value
    elif isinstance(body, dict) and body.keys() & {"messages", "input"}:
        path = "/v1/anytime" if "messages" in body else "/v1/responses"
    else:
        return
    response = httpx2.post(f"{url}{path}", json=body, timeout=LIMIT_S)
    assert response.status_code < 300, response.text
    assert "event: error" not in response.text, response.text


def _check_toml(snippet: Snippet, folder: Path) -> None:
    values = tomllib.loads(snippet.text)
    if "kind" in values:
        path = folder / "snippet.toml"
        path.write_text(snippet.text)
        load_recipe(path, environment={}, flags={})
    else:
        ServeSettings.model_validate(values)
