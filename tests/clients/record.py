"""Records the streams that the tests of both clients replay: `python -m tests.clients.record`.

Each NAME.sse holds the bytes that a real server sent; NAME.json holds what a client should parse from them:
the events, and the result or the error at the end. Uses neither client.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2

from ..servers import start

RECORDINGS = Path(__file__).parent / "recordings"
QUESTION = "What is the last digit of 3 minus 3 plus 1 plus 4 times 7, left to right?"
SCRIPTED = ("--engine", "scripted", "--scripted.answer", "x = 42 €")
NEVER_ENDING = (*SCRIPTED, "--scripted.never-end", "true")
Event = dict[str, Any]


def record(
    url: str,
    name: str,
    *,
    after: bytes = b"event: thinking",
    action: Callable[[str], object] | None = None,
    **fields: Any,
) -> None:
    """Record a session; `action` is called with its id when `after` has been received."""
    body = {"messages": [{"role": "user", "content": QUESTION}], **fields}
    wire = b""
    with httpx2.stream("POST", f"{url}/v1/anytime", json=body, timeout=60) as response:
        response.raise_for_status()
        for chunk in response.iter_raw():
            wire += chunk
            if action is not None and after in wire and wire.endswith(b"\n\n"):
                session_id = json.loads(wire.split(b"data: ", 1)[1].split(b"\n", 1)[0])["id"]
                threading.Thread(target=action, args=(session_id,)).start()
                action = None
    RECORDINGS.joinpath(f"{name}.sse").write_bytes(wire)


def expected(wire: bytes) -> dict[str, Any]:
    """The events and the result or error that a client should parse from a stream."""
    lines = wire.decode().split("\n")
    events: list[Event] = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    last = events[-1]
    if last["type"] == "error":
        return {"events": events[:-1], "result": None, "error": last["error"]}
    assert last["type"] == "done"
    result = {
        **_without_type(last),
        "model": events[0]["model"],
        "thinking": "".join(event["text"] for event in events if event["type"] == "thinking"),
        "answers": sorted(
            (_without_type(event) for event in events if event["type"] == "answer.done"),
            key=lambda answer: (not answer["provisional"], answer["at_tokens"]),
        ),
    }
    return {"events": events, "result": result, "error": None}


def _without_type(event: Event) -> Event:
    return {field: value for field, value in event.items() if field != "type"}


def _with_server(options: Sequence[str], record_sessions: Callable[[str], None]) -> None:
    server = start(options)
    try:
        record_sessions(server.url)
    finally:
        server.stop()


def _record_demo_model(url: str) -> None:
    seed = {"seed": 4}
    record(url, "early-answers", budget=32, budgets=[0, 8, 16], thinking=seed)
    record(url, "natural", budget=96, thinking=seed)
    schema = {"type": "object", "properties": {"digit": {"type": "integer"}}, "required": ["digit"]}
    answer = {"max_tokens": 40, "response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}
    record(url, "schema", budget=16, answer=answer, thinking=seed)


def _record_slow_engine(url: str) -> None:
    def control(path: str, **body: int) -> Callable[[str], object]:
        return lambda session_id: httpx2.post(f"{url}/v1/anytime/{session_id}/{path}", json=body)

    record(url, "stable", budget=200, stop_when={"stable": 2, "every_tokens": 4})
    record(url, "answer-now", budget=200, action=control("answer"))
    record(url, "extended", budget=8, action=control("extend", tokens=6))


def _record_slow_first_token(url: str) -> None:
    """The first token takes long enough for keep-alive comments."""

    def cancel(session_id: str) -> None:
        httpx2.delete(f"{url}/v1/anytime/{session_id}")

    record(url, "done", budget=6)
    record(url, "cancelled", budget=200, after=b"event: started", action=cancel)


def _record_dying_engine(url: str) -> None:
    while True:
        record(url, "engine-died", budget=20)
        if b"event: error" in RECORDINGS.joinpath("engine-died.sse").read_bytes():
            return


def main() -> None:
    """Record all streams."""
    _with_server((), _record_demo_model)
    _with_server((*NEVER_ENDING, "--scripted.seconds-per-token", "0.05"), _record_slow_engine)
    _with_server((*SCRIPTED, "--scripted.first-token-s", "5.5"), _record_slow_first_token)
    _with_server((*NEVER_ENDING, "--scripted.die-after-tokens", "500"), _record_dying_engine)
    for path in RECORDINGS.glob("*.sse"):
        text = json.dumps(expected(path.read_bytes()), ensure_ascii=False, indent=1)
        path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
