"""The server's log: one line for each record, as text or as JSON.

The `extra` of a record is written beside its message. Text from users can neither break nor forge a line.
Knows nothing of HTTP: `api/middleware/access_log.py` logs requests.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from dataclasses import asdict
from typing import Any, Literal

from pythonjsonlogger.core import RESERVED_ATTRS, LogData
from pythonjsonlogger.json import JsonFormatter as BaseJsonFormatter

from anytime_server.auth.audit import audit
from anytime_server.printable import escaped
from anytime_server.session import Session
from anytime_server.telemetry.metrics import outcome_of
from anytime_server.text.model import Model

sessions = logging.getLogger("anytime.session")

NEEDS_QUOTES = re.compile(r'[\s"=]|^$')


def set_up(*, format: Literal["text", "json"], level: str) -> None:
    """Write the log of the whole process to standard error, in one format."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    audit.setLevel(logging.INFO)  # also where `level` is higher
    logging.captureWarnings(True)
    os.environ.setdefault("VLLM_CONFIGURE_LOGGING", "0")  # or vLLM would log in its own format


class _UtcTime:
    """Times of a `logging.Formatter` as 2026-01-31T12:00:00.000Z."""

    converter = time.gmtime
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


class TextFormatter(_UtcTime, logging.Formatter):
    """`TIME LEVEL LOGGER: message field=value ...`; the lines of an exception are indented below."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        line, *trace = super().format(record).split("\n")  # `formatMessage()` left no line break in the first
        return "\n".join([line, *("  " + escaped(part) for part in trace)])

    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in vars(record).items() if name not in RESERVED_ATTRS}
        parts = [f"{name}={_quoted(value)}" for name, value in fields.items() if value is not None]
        return " ".join([escaped(super().formatMessage(record)), *parts])


class JsonFormatter(_UtcTime, BaseJsonFormatter):
    """One object a line: `time`, `level`, `logger`, `message`, the fields, and any `exception`."""

    def __init__(self) -> None:
        names = {"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "exception"}
        super().__init__(["asctime", "levelname", "name", "message"], rename_fields=names)

    def process_log_record(self, log_data: LogData) -> LogData:
        log_data["level"] = log_data["level"].lower()
        return {name: _encodable(value) for name, value in log_data.items() if value is not None}


def _quoted(value: Any) -> str:
    text = escaped(str(value))
    return json.dumps(text, ensure_ascii=False) if NEEDS_QUOTES.search(text) else text


def _encodable(value: Any) -> Any:
    """The value; lone surrogates in text, which JSON readers refuse, are written as escapes."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


class SessionLog:
    """Logs each session when it has ended."""

    def __init__(self, model: Model, *, with_content: bool) -> None:
        """
        Args:
            with_content: also log prompts and answers.
        """
        self._model = model
        self._with_content = with_content

    def __call__(self, session: Session) -> None:
        if sessions.isEnabledFor(logging.INFO):
            content = self._content(session) if self._with_content else {}
            sessions.info("session ended", extra=_outcome(session) | content)

    def _content(self, session: Session) -> dict[str, Any]:
        answer = session.answer
        return {
            "prompt": self._model.tokenizer.decode(session.request.prompt_ids),
            "answer": answer.text.sampled_text if session.done is not None and answer else None,
        }


def _outcome(session: Session) -> dict[str, Any]:
    request, timeline, done = session.request, session.timeline, session.done
    deadline_s = request.limits.deadline_s
    fields: dict[str, Any] = {
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
        "queue_s": None if timeline.slot_at is None else round(timeline.slot_at - timeline.arrived_at, 4),
    }
    if done is not None:
        counts = ("answer_tokens", "provisional_tokens", "cached_tokens")
        fields |= {name: getattr(done.usage, name) for name in counts}
        fields |= {name: round(value, 4) for name, value in asdict(done.timing).items()}
    elif timeline.ended_at is not None:
        fields["total_s"] = round(timeline.ended_at - timeline.arrived_at, 4)
    return fields
