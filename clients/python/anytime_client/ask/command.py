"""The command: runs a session, shows its events in a view, and returns the exit status."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from anytime_client.ask.arguments import Arguments, parse
from anytime_client.ask.view import AnswerView, JsonView, PlainView, View
from anytime_client.errors import ClientError
from anytime_client.terminal_text import print_error

INTERRUPTED = 130


def main(argv: Sequence[str]) -> int:
    """Run the command. Returns the exit status: 0, 1 after an error, 130 if the user gave up."""
    arguments = parse(argv)

    from anytime_client.ask.interrupt import InterruptHandler
    from anytime_client.client import Client

    view = _view(arguments)
    # Exit through the context managers, so that SIGTERM, too, restores the terminal.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        with (
            Client(arguments.url, arguments.api_key) as client,
            view,
            client.think(arguments.prompt, **arguments.options) as stream,
            InterruptHandler(stream, view.answer_requested) as interrupt,
        ):
            for event in stream:
                interrupt.observe(event)
                view.show(event)
    except ClientError as error:
        print_error("ask", error)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        # The output cannot be written. Discard what is still buffered, or flushing it at exit fails again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print_error("ask", f"cannot write the output: {error.strerror}")
        return 1
    return 0


def _view(arguments: Arguments) -> View:
    match arguments.output:
        case "json":
            return JsonView()
        case "answer":
            return AnswerView()
        case "view" if sys.stdout.isatty():
            from anytime_client.ask.live import LiveView

            return LiveView(arguments.options.get("budgets") or ())
        case "view":
            return PlainView()
