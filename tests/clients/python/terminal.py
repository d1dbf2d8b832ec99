"""A program on a pseudo-terminal, and the screen that its output draws."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence

import pyte

MAX_SCROLLBACK_LINES = 10_000


class Terminal:
    """Runs a program as the foreground process of a pseudo-terminal."""

    def __init__(
        self, command: Sequence[str], *, columns: int, rows: int = 24, env: Mapping[str, str] | None = None
    ) -> None:
        self.output = b""
        self._screen = pyte.HistoryScreen(columns, rows, history=MAX_SCROLLBACK_LINES)
        self._stream = pyte.ByteStream(self._screen)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
            | {"TERM": "xterm-256color"}
            | dict(env or {}),
        )
        os.close(slave)

    def type(self, text: str) -> None:
        """Send key presses."""
        os.write(self._master, text.encode())

    def read_until(self, condition: Callable[[list[str]], bool]) -> None:
        """Read until the condition is true of the lines shown."""
        while not condition(self.lines()):
            assert self._read(), f"the program ended, showing {self.lines()}"

    def wait(self) -> int:
        """Read to the end of the output; returns the exit status."""
        while self._read():
            pass
        os.close(self._master)
        return self.process.wait(60)

    def lines(self) -> list[str]:
        """The scrollback and the screen, without trailing blanks and blank lines."""
        scrollback = [
            "".join(line[column].data for column in range(self._screen.columns))
            for line in self._screen.history.top
        ]
        lines = [line.rstrip() for line in (*scrollback, *self._screen.display)]
        return "\n".join(lines).rstrip().split("\n")

    def _read(self) -> bool:
        try:
            chunk = os.read(self._master, 65536)
        except OSError:  # the program has closed the terminal
            chunk = b""
        self.output += chunk
        self._stream.feed(chunk)
        return bool(chunk)
