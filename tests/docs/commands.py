"""Splits code blocks into commands, and shortens commands so that a test can run them.

`RULES` says which commands are shortened, and why. Any command outside `RULES` and `UNCHANGED` is an error.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from anytime_training.config import BrpoRecipe, FineTuningRecipe, WarmstartRecipe, load_recipe

from .serve_briefly import SERVE_BRIEFLY

UNCHANGED = {".", "cat", "cd", "curl", "echo", "export", "ls", "mkdir", "printf"}
"""Programs that are harmless and fast."""

ANYTIME = r"(?:\.venv/bin/)?anytime"
PYTHON = r"(?:\.venv/bin/)?python"
GPU_CHECK_PARSES = (
    "PYTHONPATH=scripts:$PYTHONPATH python tests/docs/parse_only.py scripts/gpu_check/__main__.py"
)
VARIABLES = r"(?:\w+=\S* )*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How to run the commands that begin with `pattern`."""

    pattern: str
    shorten: Callable[[str, str], str]
    """Returns the command to run, given the command and the server's address."""
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    text: str
    output: str | None
    """The output that the block shows, if any."""


def _train(command: str, url: str) -> str:
    """Train for one step with a small batch, in an empty folder."""
    recipe = next(word for word in shlex.split(command) if word.endswith(".toml"))
    fewer = {
        WarmstartRecipe: "TOKENIZER__CORPUS_PROBLEMS=200 BATCH_EXAMPLES=4 POOL_BATCHES=1",
        FineTuningRecipe: "BATCH_EXAMPLES=2 POOL_BATCHES=1",
        BrpoRecipe: "ROLLOUT__PROMPTS=2 ROLLOUT__GROUP_SIZE=2 EVALUATION__PROBLEMS=2",
    }[type(load_recipe(Path(recipe), environment={}, flags={}))]
    settings = " ".join(f"ANYTIME_TRAIN_{setting}" for setting in fewer.split())
    emptied = "" if "--resume" in command else f"rm -rf runs/{Path(recipe).stem}; "
    return f"{emptied}{settings} {command} --steps 1"


def _evaluate(command: str, url: str) -> str:
    fewer = re.sub(r" --problems \d+", "", command) + " --problems 4"
    return fewer if "--engine" in command else f"{fewer} --engine transformers"


def _serve(command: str, url: str) -> str:
    return f"{SERVE_BRIEFLY} {re.sub(ANYTIME + ' serve', '', command, count=1).strip()}"


def _pip_install(command: str, url: str) -> str:
    return re.sub(r".*pip install", "python tests/docs/known_extras.py", command)


RULES = (
    Rule(
        pattern=ANYTIME + r" (--version|inspect|keys|models|\w+ --help)",
        shorten=lambda command, url: command,
        because="",
    ),
    Rule(
        pattern=r"make\b",
        shorten=lambda command, url: f"make -n {command.removeprefix('make ')}",
        because="targets install, test or serve everything; a dry run shows that the target exists",
    ),
    Rule(
        pattern=VARIABLES + ANYTIME + " serve",
        shorten=_serve,
        because="the server is stopped as soon as it has started",
    ),
    Rule(
        pattern=ANYTIME + " ask",
        shorten=lambda command, url: command if "--url" in command else f"{command} --url {url}",
        because="the server has another port",
    ),
    Rule(
        pattern=ANYTIME + " bench",
        shorten=lambda command, url: f"ANYTIME_URL={url} {command} --requests 4",
        because="the server has another port, and a few requests are enough",
    ),
    Rule(pattern=VARIABLES + ANYTIME + " train", shorten=_train, because="training takes minutes or hours"),
    Rule(
        pattern=ANYTIME + " evaluate",
        shorten=_evaluate,
        because="few problems are enough, and the transformers engine starts faster",
    ),
    Rule(
        pattern=r"scripts/gpu-check\.sh --pack",
        shorten=lambda command, url: f"bash -n {command}",
        because="it downloads 34 MB",
    ),
    Rule(
        pattern=r"scripts/gpu-check\.sh",
        shorten=lambda command, url: re.sub(r"scripts/\S+", GPU_CHECK_PARSES, command, count=1),
        because="it needs a GPU; the program stops after reading its options",
    ),
    Rule(
        pattern=PYTHON + " (bench|research)/",
        shorten=lambda command, url: re.sub(PYTHON, "python tests/docs/parse_only.py", command, count=1),
        because="measuring takes minutes or hours; the script stops after reading its options",
    ),
    Rule(
        pattern=PYTHON + r" -m examples\.own_task\.warmstart",
        shorten=lambda command, url: f"{command} --steps 2",
        because="training takes minutes",
    ),
    Rule(
        pattern=r"(?:\.venv/bin/)?pip install ['\"]?anytime-reasoner",
        shorten=_pip_install,
        because="the package under test is installed already; only its extras are checked",
    ),
    Rule(
        pattern=PYTHON + " examples/",
        shorten=lambda command, url: f"ANYTIME_URL={url} {command}",
        because="the server has another port",
    ),
)


def commands_of(text: str) -> list[Command]:
    """The commands of a block: its lines or, if it has prompts, the lines after `$ ` with their outputs."""
    with_prompt = any(line.startswith("$ ") for line in text.splitlines())
    commands: list[Command] = []
    lines = iter(text.splitlines())
    shown: list[str] = []
    for line in lines:
        if with_prompt and not line.startswith("$ "):
            shown.append(line)
            continue
        if not with_prompt and (not line.strip() or line.lstrip().startswith("#")):
            continue
        _attach_output(commands, shown)
        command = line.removeprefix("$ ")
        while not _is_complete(command):
            following = next(lines, None)
            assert following is not None, f"the command has no end: {command!r}"
            command += "\n" + following
        commands.append(Command(text=command, output=None))
    _attach_output(commands, shown)
    return commands


def shortened(command: str, url: str) -> str:
    """The command that a test runs.

    Raises:
        AssertionError: no rule matches the command.
    """
    command = _without_comment(command).replace("http://127.0.0.1:8000", url)
    for rule in RULES:
        if re.match(rule.pattern, command):
            return rule.shorten(command, url)
    program = command.split(maxsplit=1)[0]
    assert program in UNCHANGED, f"no rule says how to run {command!r}"
    return command


def _without_comment(command: str) -> str:
    """The command without a comment at its end, so that options can follow."""
    comment = re.search(r" +# .*$", command)
    return command[: comment.start()] if comment and _is_complete(command[: comment.start()]) else command


def _is_complete(command: str) -> bool:
    """Whether quotes are closed and no `\\` at the end continues the command."""
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return not command.endswith("\\")


def _attach_output(commands: list[Command], shown: list[str]) -> None:
    """Attach the collected lines to the last command as its output."""
    output = "\n".join(shown)
    if commands and output.strip():
        commands[-1] = Command(text=commands[-1].text, output=output)
    shown.clear()
