"""Mutation testing: mutmut changes one expression at a time; a change that no test notices survives.

Each part is mutated in `build/mutation/PART`, a folder of links in the layout that mutmut expects, and tested
by the fast tests that guard it. Prints a Markdown table, then the survivors' names;
`cd build/mutation/PART && ../../../.venv/bin/mutmut show NAME` prints the change.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
WORK = ROOT / "build" / "mutation"
PACKAGES = ("server/anytime_server", "training/anytime_training", "clients/python/anytime_client")
SEED = 0

NOT_MUTATED = (
    r"^\s*logger\.",
    r'^\s*r?f?"[^"]*",?$',  # a line that is all text: the message of an error
    r'^\s*raise \w+\(f?"[^"]*"\)( from \w+)?$',
)
"""Lines whose texts no test should fix."""
TIMEOUT_CONSTANT, TIMEOUT_MULTIPLIER = 4, 3
"""A mutant is stopped after (seconds of its tests + constant) x multiplier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Code that is mutated together."""

    code: tuple[str, ...]
    """Patterns of its files, below the packages' parent."""
    tests: tuple[str, ...]
    sample: int | None = None
    """The most mutants tried, drawn at random; None tries all."""


PARTS = {
    "reasoning": Part(code=("anytime_server/reasoning/*.py",), tests=("tests/server/reasoning",)),
    "training": Part(
        code=(
            "anytime_training/baselines/*.py",
            *(
                f"anytime_training/{name}.py"
                for name in ("advantage", "prior", "returns", "loss", "credit", "tree")
            ),
        ),
        tests=(
            "tests/training/baselines",
            *(f"tests/training/test_{name}.py" for name in ("advantage", "prior", "loss", "credit", "tree")),
        ),
    ),
    "session": Part(
        code=("anytime_server/session/*.py",),
        tests=("tests/server/session", "--ignore=tests/server/session/test_stateful.py"),  # it takes 15 s
        sample=250,
    ),
    "scheduler": Part(code=("anytime_server/scheduler/*.py",), tests=("tests/server/scheduler",), sample=200),
}
STATUSES = {0: "survived", 33: "no test", 1: "killed", 3: "killed"}
"""By mutmut's exit code; all others are a time-out or a crash."""


def prepare(name: str) -> Path:
    """A new work folder of one part."""
    part, folder = PARTS[name], WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    for made in ("src", "mutants/src"):  # Python ignores folders of its path that did not exist at its start
        (folder / made).mkdir(parents=True)
    for package in PACKAGES:
        (folder / "src" / Path(package).name).symlink_to(ROOT / package)
    for linked in ("tests", "pyproject.toml"):
        (folder / linked).symlink_to(ROOT / linked)
    config = ConfigParser(interpolation=None)
    config["mutmut"] = {
        "source_paths": _lines(f"src/{Path(package).name}" for package in PACKAGES),
        "only_mutate": _lines(f"src/{code}" for code in part.code),
        "do_not_mutate_patterns": _lines(NOT_MUTATED),
        "pytest_add_cli_args_test_selection": _lines(part.tests),
        "pytest_add_cli_args": _lines(["-p", "no:cacheprovider"]),
        "timeout_constant": str(TIMEOUT_CONSTANT),
        "timeout_multiplier": str(TIMEOUT_MULTIPLIER),
        "use_git_change_detection": "false",
    }
    with (folder / "setup.cfg").open("w", encoding="utf-8") as file:
        config.write(file)
    return folder


def _lines(values: Iterable[str]) -> str:
    return "".join(f"\n{value}" for value in values)


def mutant_names() -> list[str]:
    """Names of all mutants of the part in the current folder."""
    from mutmut.mutation.file_mutation import mutate_file_contents
    from mutmut.utils.file_utils import walk_mutatable_files
    from mutmut.utils.format_utils import get_mutant_name

    return [
        get_mutant_name(path, name)
        for path in sorted(walk_mutatable_files())
        for name in mutate_file_contents(str(path), path.read_text(encoding="utf-8")).mutant_names
    ]


def run(name: str, *, sample: int | None) -> None:
    """Try the mutants of one part."""
    from mutmut.configuration import reset_config

    os.chdir(prepare(name))
    reset_config()
    names = mutant_names()
    chosen = random.Random(SEED).sample(names, sample) if sample is not None and sample < len(names) else []
    print(f"{name}: {len(chosen) or len(names)} of {len(names)} mutants", flush=True)
    mutmut = Path(sys.executable).with_name("mutmut")
    mutated = {"PYTHONPATH": str(WORK / name / "mutants" / "src"), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [mutmut, "run", "--max-children", "1", *chosen],
        env=os.environ | mutated,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def results(name: str) -> tuple[list[str], list[str]]:
    """Rows of the table, one a file, and names of the survivors."""
    rows, survivors = [], []
    folder = WORK / name / "mutants" / "src"
    for path in sorted(folder.rglob("*.meta")):
        codes = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
        tried = {mutant: code for mutant, code in codes.items() if code is not None}
        if not tried:
            continue
        count = Counter(STATUSES.get(code, "timeout") for code in tried.values())
        undetected = count["survived"] + count["no test"]
        file = path.relative_to(folder).with_suffix("")
        rows.append(
            f"| `{file}` | {len(codes)} | {len(tried)} | {count['killed']} | {count['timeout']} "
            f"| {undetected} | {1 - undetected / len(tried):.1%} |"
        )
        survivors += [mutant for mutant, code in tried.items() if code in (0, 33)]
    return rows, survivors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--sample", type=int, help="most mutants tried of each part")
    parser.add_argument("--table", action="store_true", help="only print the results of the last run")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    parts = arguments.parts or list(PARTS)
    for name in parts if not arguments.table else ():
        run(name, sample=arguments.sample or PARTS[name].sample)
    survivors = []
    print("| file | mutants | tried | killed | timed out | survived | score |\n|---|---|---|---|---|---|---|")
    for name in parts:
        rows, survived = results(name)
        survivors += survived
        print(*rows, sep="\n")
    print(*survivors, sep="\n")


if __name__ == "__main__":
    main()
