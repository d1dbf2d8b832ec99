"""The command line, `anytime`: finds a command and runs it. Each command is imported when it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from anytime_server import __version__


def _serve(argv: Sequence[str]) -> int:
    from anytime_server.server.run import main

    return main(argv)


def _inspect(argv: Sequence[str]) -> int:
    from anytime_server.server.inspect import main

    return main(argv)


def _ask(argv: Sequence[str]) -> int:
    from anytime_client.ask import main

    return main(argv)


def _bench(argv: Sequence[str]) -> int:
    from anytime_client.bench import main

    return main(argv)


def _models(argv: Sequence[str]) -> int:
    from anytime_server.models.command import main

    return main(argv)


def _keys(argv: Sequence[str]) -> int:
    from anytime_server.auth.command import main

    return main(argv)


def _train(argv: Sequence[str]) -> int:
    from anytime_training.cli import train

    return train(argv)


def _evaluate(argv: Sequence[str]) -> int:
    from anytime_training.evaluate import main

    return main(argv)


@dataclass(frozen=True, slots=True)
class Command:
    """One command of `anytime`."""

    run: Callable[[Sequence[str]], int]
    """Takes the arguments and returns the exit status."""
    help: str
    extra: str = ""
    """The extras that install what the command needs beyond the base install."""


COMMANDS = {
    "serve": Command(_serve, "serve a model over HTTP", "vllm"),
    "inspect": Command(_inspect, "show how a model would be served", "vllm"),
    "ask": Command(_ask, "ask a running server a question"),
    "bench": Command(_bench, "measure a running server under load", "train"),
    "models": Command(_models, "list and get pretrained models to try", "models"),
    "keys": Command(_keys, "make API keys for a server"),
    "train": Command(_train, "train a model from a recipe", "train,vllm"),
    "evaluate": Command(_evaluate, "measure a checkpoint's accuracy at each budget", "train,vllm"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run `anytime COMMAND ...` and exit with its status."""
    name, *arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(_usage())
        sys.exit(0)
    if name in ("-V", "--version"):
        print(f"anytime {__version__}")
        sys.exit(0)
    if name not in COMMANDS:
        print(f"anytime: no command {name!r}; the commands are {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    sys.exit(_run(name, arguments))


def _run(name: str, arguments: Sequence[str]) -> int:
    command = COMMANDS[name]
    try:
        return command.run(arguments)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package.startswith("anytime_"):
            raise
        distribution = f"anytime-reasoner[{command.extra}]" if command.extra else "anytime-reasoner"
        print(
            f"anytime {name} needs {package}, which is not installed: pip install '{distribution}'",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return 130


def _usage() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items())
    return (
        "usage: anytime COMMAND ...\n\n"
        "Serve reasoning models that answer at any moment, and train models for it.\n\n"
        f"{commands}\n\n"
        "anytime COMMAND --help shows the options of a command; anytime --version shows the version."
    )
