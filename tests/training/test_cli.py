"""`anytime train` at the command line, up to where training begins."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from anytime_training.cli import train
from anytime_training.config import load_recipe
from anytime_training.run import open_run

MINIMAL = 'kind = "warmstart"\nname = "tiny"\nsteps = 3\n'


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--help"], 0, "--resume"),
        ([], 2, "RECIPE.toml"),
        (["recipe.toml", "--stepps", "3"], 2, "--stepps"),
        (["recipe.toml", "--steps", "many"], 2, "--steps"),
        (["missing.toml"], 2, "missing.toml"),
    ],
)
def test_help_and_mistakes(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(arguments) == code
    printed = capsys.readouterr()
    assert message in (printed.err if code else printed.out)
    assert "Traceback" not in printed.err


def test_a_bad_flag_value_names_the_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(MINIMAL)
    assert train([str(recipe), "--steps", "0", "--out", str(tmp_path / "out")]) == 2
    assert "steps" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_pipe_or_a_file_without_end_is_no_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = tmp_path / "recipe.toml"
    os.mkfifo(pipe)  # a read blocks until there is a writer
    for recipe in (pipe, Path("/dev/zero")):
        assert train([str(recipe)]) == 2
        assert f"{recipe}: is not a regular file" in capsys.readouterr().err


def test_nothing_heavy_is_imported_before_the_recipe_is_validated(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(MINIMAL + "stepps = 4\n")
    program = (
        "import sys; from anytime_training.cli import train; "
        f"codes = [train(['--help']), train([{str(recipe)!r}])]; "
        "heavy = {'torch', 'transformers', 'tokenizers', 'matplotlib'} & set(sys.modules); "
        "sys.exit(f'{codes} {heavy}' if heavy or codes != [0, 2] else 0)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert finished.returncode == 0, finished.stderr


def test_unusable_run_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(MINIMAL)
    for out in (recipe, recipe / "below", Path("/proc/x")):
        assert train([str(recipe), "--out", str(out)]) == 2
        assert f"{out} cannot be the folder of a run" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["training_state.pt", "checkpoint"])
def test_earlier_run_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Even if only the checkpoint was kept."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(MINIMAL)
    (tmp_path / "run" / name).mkdir(parents=True)
    assert train([str(recipe), "--out", str(tmp_path / "run")]) == 2
    assert "already holds a run" in capsys.readouterr().err


def test_second_process_in_the_same_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(MINIMAL)
    out = tmp_path / "run"
    with open_run(out, load_recipe(recipe, environment={}, flags={}), resume=False):
        for resume in ([], ["--resume"]):
            assert train([str(recipe), "--out", str(out), *resume]) == 2
            assert "another process trains there" in capsys.readouterr().err


def test_damaged_run_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(MINIMAL)
    for text in ("{", "[]"):
        (tmp_path / "recipe.json").write_text(text)
        assert train([str(recipe), "--resume", "--out", str(tmp_path)]) == 2
        assert "recipe.json is damaged" in capsys.readouterr().err


def test_resuming_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(MINIMAL)
    assert train([str(recipe), "--resume", "--out", str(tmp_path / "out")]) == 2
    assert "no run to resume" in capsys.readouterr().err
