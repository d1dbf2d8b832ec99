"""Records the streams that both clients' tests replay: `python -m tests.clients.record`.

Each NAME.sse is what a real server sent; NAME.json beside it says what a client should make of it: the
events, and the result or the error that they end in. Nothing of the clients takes part.
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
    once: bytes = b"event: thinking",
    meanwhile: Callable[[str], object] | None = None,
    **fields: Any,
) -> None:
    """Ask, and keep what is sent; `meanwhile` is called with the session's id once that has been."""
    body = {"messages": [{"role": "user", "content": QUESTION}], **fields}
    wire = b""
    with httpx2.stream("POST", f"{url}/v1/anytime", json=body, timeout=60) as response:
        response.raise_for_status()
        for piece in response.iter_raw():
            wire += piece
            if meanwhile is not None and once in wire and wire.endswith(b"\n\n"):
                session_id = json.loads(wire.split(b"data: ", 1)[1].split(b"\n", 1)[0])["id"]
                threading.Thread(target=meanwhile, args=(session_id,)).start()
                meanwhile = None
    RECORDINGS.joinpath(f"{name}.sse").write_bytes(wire)


def expected(wire: bytes) -> dict[str, Any]:
    """What a client should make of a stream."""
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


def _serving(options: Sequence[str], ask: Callable[[str], None]) -> None:
    server = start(options)
    try:
        ask(server.url)
    finally:
        server.stop()


def _on_the_demo_model(url: str) -> None:
    seed = {"seed": 4}
    record(url, "ladder", budget=32, budgets=[0, 8, 16], thinking=seed)
    record(url, "natural", budget=96, thinking=seed)
    schema = {"type": "object", "properties": {"digit": {"type": "integer"}}, "required": ["digit"]}
    answer = {"max_tokens": 40, "response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}
    record(url, "schema", budget=16, answer=answer, thinking=seed)


def _on_a_slow_one(url: str) -> None:
    def press(path: str, **body: int) -> Callable[[str], object]:
        return lambda session_id: httpx2.post(f"{url}/v1/anytime/{session_id}/{path}", json=body)

    record(url, "stable", budget=200, stop_when={"stable": 2, "every_tokens": 4})
    record(url, "answer-now", budget=200, meanwhile=press("answer"))
    record(url, "extended", budget=8, meanwhile=press("extend", tokens=6))


def _on_one_slow_to_begin(url: str) -> None:
    """Slow enough for keep-alive comments."""

    def cancel(session_id: str) -> None:
        httpx2.delete(f"{url}/v1/anytime/{session_id}")

    record(url, "done", budget=6)
    record(url, "cancelled", budget=200, once=b"event: started", meanwhile=cancel)


def _on_one_that_dies(url: str) -> None:
    while True:
        record(url, "engine-died", budget=20)
        if b"event: error" in RECORDINGS.joinpath("engine-died.sse").read_bytes():
            return


def main() -> None:
    """Record all of them anew, on real servers."""
    _serving((), _on_the_demo_model)
    _serving((*NEVER_ENDING, "--scripted.seconds-per-token", "0.05"), _on_a_slow_one)
    _serving((*SCRIPTED, "--scripted.first-token-s", "5.5"), _on_one_slow_to_begin)
    _serving((*NEVER_ENDING, "--scripted.die-after-tokens", "500"), _on_one_that_dies)
    for path in RECORDINGS.glob("*.sse"):
        text = json.dumps(expected(path.read_bytes()), ensure_ascii=False, indent=1)
        path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
