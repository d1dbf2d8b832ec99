"""Items of a response where a model thinks between two pieces of its answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from anytime_server.api.openai.responses.encoder import ResponsesEncoder
from anytime_server.api.openai.responses.schema import ResponsesRequest
from anytime_server.session import events
from anytime_server.types import RequestContext


def answer(text: str) -> events.AnswerDelta:
    return events.AnswerDelta(index=0, text=text, tokens=(), provisional=False)


def test_every_item_has_an_id_of_its_own_even_if_text_comes_before_any_thinking() -> None:
    request = ResponsesRequest.model_validate({"model": "tiny", "input": "7-3"})
    session: Any = SimpleNamespace(
        request=SimpleNamespace(id="resp_1a", context=RequestContext()), model_name="tiny"
    )
    encoder = ResponsesEncoder(request, session)
    emitted = [
        answer("4"),
        events.ThinkingDelta(text="more", total_tokens=2),
        answer("2"),
        events.ThinkingDelta(text="again", total_tokens=3),
        answer("."),
    ]
    wires = [wire for event in emitted for wire in encoder.encode(0, event)]
    items = [wire["item"] for wire in wires if wire["type"] == "response.output_item.done"]
    assert [item["type"] for item in items] == ["message", "reasoning", "message", "reasoning"]
    assert len({item["id"] for item in items}) == 4
