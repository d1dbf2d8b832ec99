"""Models whose files are damaged or malicious."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from anytime_server.errors import MAX_CHARACTERS, UnusableModel
from anytime_server.server.model import load_model
from anytime_server.server.settings import load_settings
from anytime_server.text.model import BUNDLED_MODEL

from ..servers import ANYTIME
from .guarded import copy_of_the_model
from .matrix import attack

MANIFEST = (BUNDLED_MODEL / "anytime.json").read_text()
CONFIG = json.loads((BUNDLED_MODEL / "config.json").read_text())


def content(name: str, text: str | bytes) -> Callable[[Path], None]:
    raw = text.encode() if isinstance(text, str) else text
    return lambda folder: [(folder / name).write_bytes(raw), None][1]


def pipe(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return damage


def directory(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


def with_field(text: str, field: str) -> str:
    return text.rstrip().removesuffix("}") + f", {field}}}"


LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
DEEP = "[" * 20_000


@attack(
    done="a model folder with a file that is nested 20,000 deep, has 5,000 digits, other types, other bytes "
    "than UTF-8, or is a pipe or a directory; a chat template that loops",
    client="-",
    left="nothing: one line that names the file",
)
@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (content("anytime.json", DEEP), "anytime.json"),
        (content("anytime.json", with_field(MANIFEST, f'"task": {DEEP}')), "anytime.json"),
        (content("anytime.json", with_field(MANIFEST, f'"seed": {"9" * 5000}')), "anytime.json"),
        (content("anytime.json", with_field(MANIFEST, '"budgets": "x"')), "anytime.json: budgets"),
        (content("anytime.json", b"\xff\xfe{}"), "anytime.json"),
        (pipe("anytime.json"), "anytime.json is not a file"),
        (directory("anytime.json"), "anytime.json"),
        (content("config.json", DEEP), "config.json"),
        (content("config.json", json.dumps(CONFIG | {"num_hidden_layers": "x"})), "config.json"),
        (content("config.json", json.dumps(CONFIG | {"hidden_size": [64]})), "config.json"),
        (pipe("config.json"), "config.json is not a file"),
        (content("tokenizer.json", DEEP), "tokenizer.json"),
        (content("tokenizer.json", "{}"), "no tokenizer can be loaded"),
        (content("tokenizer_config.json", "[]"), "tokenizer_config.json cannot be read"),
        (content("generation_config.json", "[]"), "generation_config.json"),
        (pipe("chat_template.jinja"), "chat_template.jinja is not a file"),
        (content("chat_template.jinja", b"\xff"), "no tokenizer can be loaded"),
        (content("chat_template.jinja", LOOP), "the chat template takes more than 3 s"),
    ],
)
def test_model_files(tmp_path: Path, damage: Callable[[Path], None], named: str) -> None:
    folder = copy_of_the_model(tmp_path / "model")
    damage(folder)
    with pytest.raises(UnusableModel) as refused:
        load_model(load_settings(["--model", str(folder)]))
    message = str(refused.value)
    assert named in message
    assert "\n" not in message
    assert len(message) <= MAX_CHARACTERS


@attack(
    done="a pipe in place of a model's anytime.json",
    client="-",
    left="nothing: the server ends with status 1 and one line that names the file",
)
def test_server_with_a_pipe_in_its_model(tmp_path: Path) -> None:
    folder = copy_of_the_model(tmp_path / "model")
    pipe("anytime.json")(folder)
    command = [str(ANYTIME), "serve", "--engine", "scripted", "--port", "0", "--model", str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    error = f"anytime serve: {folder / 'anytime.json'} is not a file\n"
    assert (ended.returncode, ended.stderr) == (1, error)
