"""A program on a terminal of its own, and what is to be seen there when all it wrote has been drawn."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence

TOKEN = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)|\x1b")


class Terminal:
    """A pseudo-terminal with a program on it, which gets its signals."""

    def __init__(
        self, command: Sequence[str], *, columns: int, rows: int = 24, env: Mapping[str, str] | None = None
    ) -> None:
        self.columns = columns
        self.written = b""
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
        """Press these keys."""
        os.write(self._master, text.encode())

    def read_until(self, shown: Callable[[list[str]], bool]) -> None:
        """Read on until this is true of what is shown."""
        while not shown(self.lines()):
            assert self._read(), f"the program ended, showing {self.lines()}"

    def wait(self) -> int:
        """Read to the end; the exit status."""
        while self._read():
            pass
        os.close(self._master)
        return self.process.wait(60)

    def lines(self) -> list[str]:
        """All that is shown, with what has scrolled out of sight; without blanks at the ends."""
        lines, row, column = [""], 0, 0
        for match in TOKEN.finditer(self.written.decode(errors="ignore")):
            number, command, control, text = match.groups()
            if text:
                lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
                column += len(text)
                assert column <= self.columns, f"too long for a line: {lines[row]!r}"
            elif control == "\r":
                column = 0
            elif control == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif command == "A":
                row -= int(number or 1)
                assert row >= 0, "above all that was written"
            elif command == "K":
                assert number == "2"
                lines[row] = ""
            else:
                assert command in ("m", "h", "l"), f"what is {match[0]!r}?"
        return "\n".join(line.rstrip() for line in lines).rstrip().split("\n")

    def _read(self) -> bool:
        try:
            piece = os.read(self._master, 65536)
        except OSError:  # all who could write have gone
            piece = b""
        self.written += piece
        return bool(piece)
