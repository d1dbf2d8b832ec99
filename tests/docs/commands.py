"""The commands of a block, each in the form in which a test can run it.

The one table of what is shortened, and why. What neither the table nor `AS_THEY_ARE` knows is refused.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from anytime_training.config import load_recipe

AS_THEY_ARE = {"cat", "cd", "curl", "echo", "export", "ls", "mkdir", "printf"}
"""Programs that do no harm and take no time."""

ANYTIME = r"(?:\.venv/bin/)?anytime"
PYTHON = r"(?:\.venv/bin/)?python"
VARIABLES = r"(?:\w+=\S* )*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Commands that begin with `pattern`, and how they are run."""

    pattern: str
    shorten: Callable[[str, str], str]
    """From the command and the server's address."""
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    text: str
    output: str | None
    """What it prints, where the block shows it."""


def _train(command: str, url: str) -> str:
    """One step of a small batch, into a folder that holds no earlier run."""
    recipe = next(word for word in shlex.split(command) if word.endswith(".toml"))
    kind = load_recipe(Path(recipe), environment={}, flags={}).kind
    fewer = {
        "warmstart": "TOKENIZER__CORPUS_PROBLEMS=200 BATCH_EXAMPLES=4 POOL_BATCHES=1",
        "brpo": "ROLLOUT__PROMPTS=2 ROLLOUT__GROUP_SIZE=2 EVALUATION__PROBLEMS=2",
    }[kind]
    settings = " ".join(f"ANYTIME_TRAIN_{setting}" for setting in fewer.split())
    emptied = "" if "--resume" in command else f"rm -rf runs/{Path(recipe).stem}; "
    return f"{emptied}{settings} {command} --steps 1"


def _evaluate(command: str, url: str) -> str:
    fewer = re.sub(r" --problems \d+", "", command) + " --problems 4"
    return fewer if "--engine" in command else f"{fewer} --engine transformers"


def _serve(command: str, url: str) -> str:
    return re.sub(ANYTIME, "python tests/docs/serve_briefly.py", command, count=1)


def _pip_install(command: str, url: str) -> str:
    return re.sub(r".*pip install", "python tests/docs/known_extras.py", command)


RULES = (
    Rule(pattern=ANYTIME + r" (--version|keys|\w+ --help)", shorten=lambda command, url: command, because=""),
    Rule(
        pattern=r"make\b",
        shorten=lambda command, url: f"make -n {command.removeprefix('make ')}",
        because="they install, test or serve everything; make says whether there is such a target",
    ),
    Rule(
        pattern=VARIABLES + ANYTIME + " serve",
        shorten=_serve,
        because="it serves until it is told to stop; here until it says that it serves",
    ),
    Rule(
        pattern=ANYTIME + " ask",
        shorten=lambda command, url: command if "--url" in command else f"{command} --url {url}",
        because="the server has another port",
    ),
    Rule(
        pattern=ANYTIME + " bench",
        shorten=lambda command, url: f"ANYTIME_URL={url} {command} --requests 4",
        because="the server has another port; and a few requests are enough",
    ),
    Rule(pattern=VARIABLES + ANYTIME + " train", shorten=_train, because="training takes minutes or hours"),
    Rule(
        pattern=ANYTIME + " evaluate",
        shorten=_evaluate,
        because="few problems, on the engine that starts fast",
    ),
    Rule(
        pattern=PYTHON + " bench/",
        shorten=lambda command, url: re.sub(PYTHON, "python tests/docs/parse_only.py", command, count=1),
        because="measuring takes minutes or hours; each script reads its options, then stops",
    ),
    Rule(
        pattern=PYTHON + r" -m examples\.own_task\.warmstart",
        shorten=lambda command, url: f"{command} --steps 2",
        because="training takes minutes",
    ),
    Rule(
        pattern=r"(?:\.venv/bin/)?pip install ['\"]?anytime-reasoner",
        shorten=_pip_install,
        because="it is the package under test; here the extras must exist",
    ),
    Rule(
        pattern=PYTHON + " examples/",
        shorten=lambda command, url: f"ANYTIME_URL={url} {command}",
        because="the server has another port",
    ),
)


def commands_of(text: str) -> list[Command]:
    """The commands of a block: its lines, or those after `$ ` with what each prints."""
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
        _tell(commands, shown)
        command = line.removeprefix("$ ")
        while not _is_whole(command):
            following = next(lines, None)
            assert following is not None, f"the command has no end: {command!r}"
            command += "\n" + following
        commands.append(Command(text=command, output=None))
    _tell(commands, shown)
    return commands


def shortened(command: str, url: str) -> str:
    """The command as it is run.

    Raises:
        AssertionError: nobody has thought of such a command.
    """
    command = _without_comment(command).replace("http://127.0.0.1:8000", url)
    for rule in RULES:
        if re.match(rule.pattern, command):
            return rule.shorten(command, url)
    program = command.split(maxsplit=1)[0]
    assert program in AS_THEY_ARE, f"no rule says how to run {command!r}"
    return command


def _without_comment(command: str) -> str:
    """The command as options can be put after it."""
    comment = re.search(r" +# .*$", command)
    return command[: comment.start()] if comment and _is_whole(command[: comment.start()]) else command


def _is_whole(command: str) -> bool:
    """Whether neither a quotation nor a line with `\\` at its end goes on."""
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return not command.endswith("\\")


def _tell(commands: list[Command], shown: list[str]) -> None:
    """Give the last command the output that was collected since."""
    output = "\n".join(shown)
    if commands and output.strip():
        commands[-1] = Command(text=commands[-1].text, output=output)
    shown.clear()
