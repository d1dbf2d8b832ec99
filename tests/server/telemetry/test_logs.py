"""The log's formats: one line for each record, whatever text users send."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest
from anytime_server.telemetry.logs import JsonFormatter, TextFormatter

HOSTILE = 'a\nb\r\x1b[31m\x00\x85\u2028\u202e\ud800 "q" c=d'


def record(message: str, *arguments: object, exc_info: Any = None, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("anytime.test", logging.INFO, __file__, 1, message, arguments, exc_info)
    made.created, made.msecs = 1_750_000_000.25, 250
    vars(made).update(fields)
    return made


def failure() -> Any:
    try:
        raise ValueError("first\n2026-01-01T00:00:00.000Z ERROR anytime.forged: line")
    except ValueError:
        return sys.exc_info()


def test_text() -> None:
    line = TextFormatter().format(
        record("it took %d s", 3, path="/v1/anytime", key=None, note="two words", empty="")
    )
    assert line == (
        '2025-06-15T15:06:40.250Z INFO anytime.test: it took 3 s path=/v1/anytime note="two words" empty=""'
    )


def test_json() -> None:
    line = JsonFormatter().format(record("it took %d s", 3, path="/v1/anytime", key=None, seconds=0.5))
    assert json.loads(line) == {
        "time": "2025-06-15T15:06:40.250Z",
        "level": "info",
        "logger": "anytime.test",
        "message": "it took 3 s",
        "path": "/v1/anytime",
        "seconds": 0.5,
    }


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_text_from_users_cannot_break_a_line(formatter: logging.Formatter) -> None:
    line = formatter.format(record("%s", HOSTILE, path=HOSTILE))
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    line.encode()  # no half of a surrogate pair is left


def test_json_keeps_text_from_users() -> None:
    line = json.loads(JsonFormatter().format(record("m", path="a\nb\u2028\ud800")))
    assert line["path"] == "a\nb\u2028\\ud800"


@pytest.mark.parametrize("is_formatted_already", [False, True])
def test_an_exception_forges_no_line_of_text(is_formatted_already: bool) -> None:
    failed = record("failed", exc_info=failure())
    if is_formatted_already:
        logging.Formatter().format(
            failed
        )  # another handler leaves its own text of the exception in the record
    lines = TextFormatter().format(failed).split("\n")
    assert lines[0].endswith("failed")
    assert all(line.startswith("  ") for line in lines[1:])
    assert any("anytime.forged" in line for line in lines[1:])


def test_an_exception_is_one_field_of_json() -> None:
    line = JsonFormatter().format(record("failed", exc_info=failure()))
    assert "\n" not in line
    assert json.loads(line)["exception"].startswith("Traceback")
