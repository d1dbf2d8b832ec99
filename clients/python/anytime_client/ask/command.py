"""The command itself: asks, has it shown, and says by its exit status how it went."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from anytime_client.ask.arguments import Asked, parse
from anytime_client.ask.view import AnswerView, JsonView, PlainView, View
from anytime_client.errors import ClientError

INTERRUPTED = 130


def main(argv: Sequence[str]) -> int:
    """Run the command. Returns the exit status: 0, 1 after an error, 130 if given up."""
    asked = parse(argv)

    from anytime_client.ask.interrupt import Interrupt
    from anytime_client.client import Client

    view = _view(asked)
    # Who ends it by a signal gets the terminal back as it was.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        with (
            Client(asked.url, asked.api_key) as client,
            view,
            client.think(asked.prompt, **asked.options) as stream,
            Interrupt(stream, view.answering_now) as interrupt,
        ):
            for event in stream:
                interrupt.saw(event)
                view.show(event)
    except ClientError as error:
        print(f"anytime ask: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        # Whoever read the output has gone, or it cannot be written; so cannot what is still held back.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print(f"anytime ask: cannot write the output: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _view(asked: Asked) -> View:
    match asked.output:
        case "json":
            return JsonView()
        case "answer":
            return AnswerView()
        case "view" if sys.stdout.isatty():
            from anytime_client.ask.live import LiveView

            return LiveView(asked.options.get("budgets") or ())
        case "view":
            return PlainView()
