"""What a server writes to its log: one line for each record, as text or as JSON.

Fields of a record, given as `extra={"fields": {...}}`, are written beside its message. What users wrote can
neither break a line nor forge one. Knows nothing of HTTP: `api/access_log.py` tells of requests.
"""

from __future__ import annotations

import json
import logging
import os
import re
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Literal

from anytime_server.session import Session
from anytime_server.telemetry.metrics import outcome_of
from anytime_server.text.model import Model

sessions = logging.getLogger("anytime.session")

UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
"""Control characters, all that some reader takes for the end of a line, halves of pairs, and what turns the
direction of writing."""
NEEDS_QUOTES = re.compile(r'[\s"=]|^$')


def set_up(*, form: Literal["text", "json"], level: str) -> None:
    """Write what all of the process logs to standard error, in one form."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.captureWarnings(True)
    os.environ.setdefault("VLLM_CONFIGURE_LOGGING", "0")  # or it would have a form of its own


class TextFormatter(logging.Formatter):
    """`TIME LEVEL LOGGER: message field=value ...`; the lines of an exception are indented below."""

    def format(self, record: logging.LogRecord) -> str:
        told = [f"{_time(record)} {record.levelname} {record.name}: {_printable(record.getMessage())}"]
        told += [f"{name}={_value(value)}" for name, value in _fields(record).items()]
        return "\n".join([" ".join(told), *("  " + _printable(line) for line in _trace(self, record))])


class JsonFormatter(logging.Formatter):
    """One object a line: `time`, `level`, `logger`, `message`, the fields, `exception` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if trace := _trace(self, record):
            told["exception"] = "\n".join(trace)
        return json.dumps({name: _encodable(value) for name, value in told.items()}, default=str)


def _time(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return {name: value for name, value in fields.items() if value is not None}


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    parts = [formatter.formatException(record.exc_info)] if record.exc_info else []
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts).split("\n") if parts else []


def _printable(text: str) -> str:
    """The same, with what could break or forge a line written as an escape."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _value(value: Any) -> str:
    text = _printable(str(value))
    return json.dumps(text, ensure_ascii=False) if NEEDS_QUOTES.search(text) else text


def _encodable(value: Any) -> Any:
    """The same, if it is text with halves of surrogate pairs, with these written as escapes."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


class SessionLog:
    """One line for each session that has ended."""

    def __init__(self, model: Model, *, with_content: bool) -> None:
        """
        Args:
            with_content: write prompts and answers, too.
        """
        self._model = model
        self._with_content = with_content

    def __call__(self, session: Session) -> None:
        if sessions.isEnabledFor(logging.INFO):
            content = self._content(session) if self._with_content else {}
            sessions.info("session ended", extra={"fields": _outcome(session) | content})

    def _content(self, session: Session) -> dict[str, Any]:
        return {
            "prompt": self._model.tokenizer.decode(session.request.prompt_ids),
            "answer": session.answer.sampled_text if session.done is not None and session.answer else None,
        }


def _outcome(session: Session) -> dict[str, Any]:
    request, timeline, done = session.request, session.timeline, session.done
    deadline_s = request.limits.deadline_s
    told: dict[str, Any] = {
        "session_id": request.id,
        "request_id": request.context.request_id,
        "key": request.context.client or None,
        "outcome": outcome_of(session),
        "error": session.error.code if session.error is not None else None,
        "cause": done.stop.cause.value if done is not None else None,
        "budget_tokens": request.limits.budget_tokens if done is None else done.stop.budget_tokens,
        "deadline_ms": None if deadline_s is None else round(deadline_s * 1000),
        "prompt_tokens": request.num_context_tokens,
        "thinking_tokens": session.thinking_tokens if done is None else done.stop.thinking_tokens,
        "queue_s": None if timeline.room_at is None else round(timeline.room_at - timeline.arrived_at, 4),
    }
    if done is not None:
        counts = ("answer_tokens", "provisional_tokens", "cached_tokens")
        told |= {name: getattr(done.usage, name) for name in counts}
        told |= {name: round(value, 4) for name, value in asdict(done.timing).items()}
    elif timeline.ended_at is not None:
        told["total_s"] = round(timeline.ended_at - timeline.arrived_at, 4)
    return told
