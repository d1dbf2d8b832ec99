"""The command line, `anytime`: finds the command and hands over. Imports nothing before it must."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from anytime_server import __version__

COMMANDS = {
    "serve": ("anytime_server.server.run:main", "serve a model over HTTP", "vllm"),
    "ask": ("anytime_client.ask:main", "ask a running server, from the terminal", ""),
    "bench": ("anytime_client.bench:main", "send load to a running server, and tell how it does", "train"),
    "keys": ("anytime_server.auth.command:main", "make API keys for a server", ""),
    "train": ("anytime_training.cli:train", "train a model from a recipe", "train,vllm"),
    "evaluate": (
        "anytime_training.evaluate:main",
        "measure a checkpoint's accuracy at each budget",
        "train,vllm",
    ),
}
"""Name: where it lives, what it does, the extra that brings what it needs beyond the base install."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run `anytime COMMAND ...` and exit with its status."""
    name, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(_usage())
        sys.exit(0)
    if name in ("-V", "--version"):
        print(f"anytime {__version__}")
        sys.exit(0)
    if name not in COMMANDS:
        print(f"anytime: no command {name!r}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    target, _, extra = COMMANDS[name]
    module, _, function = target.partition(":")
    try:
        command: Callable[[Sequence[str]], int] = getattr(import_module(module), function)
        status = command(rest)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("anytime_"):
            raise
        distribution = f"anytime-reasoner[{extra}]" if extra else "anytime-reasoner"
        print(
            f"anytime {name} needs {error.name}, which is not installed: pip install '{distribution}'",
            file=sys.stderr,
        )
        status = 1
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {what}" for name, (_, what, _) in COMMANDS.items())
    return (
        "usage: anytime COMMAND ...\n\n"
        "Serve reasoning models that answer at any moment, and train models for it.\n\n"
        f"{commands}\n\n"
        "anytime COMMAND --help tells the options of a command; anytime --version the version."
    )
