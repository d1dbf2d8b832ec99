"""A model that writes in channels, in each dialect: its calls, its budget, and thinking opened again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.text.model import Model

FUNCTION = {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}
CALL = '<|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": 1}<|call|>'
SAID_AND_CALLED = f"<|channel|>commentary<|message|>So.<|end|><|start|>assistant{CALL}"
ANALYSIS, FINAL = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>"
BODY: dict[str, Any] = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "7-3"}],
    "tools": [{"type": "function", "function": FUNCTION}],
    "max_tokens": 400,
    "thinking_budget": 5,
}


async def test_chat_completions_give_text_and_call(served: Any, harmony_model: Model) -> None:
    server = await served(model=harmony_model, answer=SAID_AND_CALLED)
    choice = (await server.http.post("/v1/chat/completions", json=BODY)).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("So.", "tool_calls")
    [call] = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "add", "arguments": '{"a": 1}'}
    streamed = (await server.http.post("/v1/chat/completions", json=BODY | {"stream": True})).text
    chunks = [json.loads(line[6:]) for line in streamed.split("\n\n") if line.startswith("data: {")]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "So."
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert [call["function"]["arguments"] for call in calls] == ['{"a": 1}']


async def test_responses_give_text_and_call(served: Any, harmony_model: Model) -> None:
    server = await served(model=harmony_model, answer=SAID_AND_CALLED)
    body = {
        "model": "tiny",
        "input": "7-3",
        "tools": [{"type": "function", **FUNCTION}],
        "thinking_budget": 5,
        "max_output_tokens": 400,
    }
    output = (await server.http.post("/v1/responses", json=body)).json()["output"]
    [message] = [item for item in output if item["type"] == "message"]
    [call] = [item for item in output if item["type"] == "function_call"]
    assert message["content"][0]["text"] == "So."
    assert (call["name"], call["arguments"]) == ("add", '{"a": 1}')


async def test_messages_give_text_and_call(served: Any, harmony_model: Model) -> None:
    server = await served(model=harmony_model, answer=SAID_AND_CALLED)
    body = {
        "model": "tiny",
        "messages": BODY["messages"],
        "max_tokens": 400,
        "tools": [{"name": "add", "input_schema": {"type": "object"}}],
        "thinking": {"type": "enabled", "budget_tokens": 5},
    }
    message = (await server.http.post("/v1/messages", json=body)).json()
    assert message["stop_reason"] == "tool_use"
    [text] = [block["text"] for block in message["content"] if block["type"] == "text"]
    [call] = [block for block in message["content"] if block["type"] == "tool_use"]
    assert (text, call["name"], call["input"]) == ("So.", "add", {"a": 1})


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch, harmony_model: Model) -> Callable[..., list[str]]:
    """Makes scripted engines give these answers in turn; returns the ends of their prompts."""

    def play(answers: Iterable[str]) -> list[str]:
        prompts: list[str] = []
        left = iter(answers)

        def answer(_: ScriptedEngine, prompt_ids: list[int]) -> str:
            prompts.append(harmony_model.tokenizer.decode(prompt_ids, keeps_special=True))
            return next(left)

        monkeypatch.setattr(ScriptedEngine, "_answer", answer)
        return prompts

    return play


async def ask(server: Any, **fields: Any) -> dict[str, Any]:
    response = await server.http.post("/v1/chat/completions", json=BODY | fields)
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]


@pytest.mark.parametrize(("budget", "thinking"), [(0, ""), (5, "…")])
async def test_tools_leave_the_channel_of_the_answer_open(
    served: Any, harmony_model: Model, answering: Callable[..., list[str]], budget: int, thinking: str
) -> None:
    prompts = answering([CALL, CALL])
    server = await served(model=harmony_model, never_end=True)
    message = await ask(server, thinking_budget=budget)
    assert len(message["tool_calls"]) == 1
    assert prompts[0].endswith("<|end|><|start|>assistant")
    assert prompts[0].endswith(f"<|start|>assistant{ANALYSIS}<|end|><|start|>assistant") == (not thinking)
    await ask(server, thinking_budget=budget, tool_choice="none")
    assert prompts[1].endswith(FINAL)


async def test_thinking_again_without_budget_is_closed_at_once(
    served: Any, harmony_model: Model, answering: Callable[..., list[str]]
) -> None:
    prompts = answering([f"{ANALYSIS}more", CALL])
    message = await ask(await served(model=harmony_model, never_end=True))
    assert prompts[1] == f"{prompts[0]}{ANALYSIS}<|end|><|start|>assistant"
    assert (message["content"], len(message["tool_calls"])) == (None, 1)
    assert len(message["reasoning_content"]) == 5


async def test_thinking_again_and_again_without_budget_opens_the_answer(
    served: Any, harmony_model: Model, answering: Callable[..., list[str]]
) -> None:
    prompts = answering([f"{ANALYSIS}more", f"{ANALYSIS}more", "42"])
    message = await ask(await served(model=harmony_model, never_end=True))
    assert prompts[2].endswith(f"{ANALYSIS}<|end|><|start|>assistant{FINAL}")
    assert message["content"] == "42"


async def test_thinking_again_after_text_counts_on_the_budget(
    served: Any, harmony_model: Model, answering: Callable[..., list[str]]
) -> None:
    said = "<|channel|>commentary<|message|>So.<|end|><|start|>assistant"
    answering([f"{said}{ANALYSIS}", f"{FINAL}42"])
    message = await ask(await served(model=harmony_model, thinking_tokens=4), thinking_budget=50)
    assert message["content"] == "So.\n\n42"
    assert len(message["reasoning_content"]) == 2 * 3


async def test_blank_final_text_is_sampled_again_in_its_channel(
    served: Any, harmony_model: Model, answering: Callable[..., list[str]]
) -> None:
    prompts = answering([FINAL, "<|start|>42"])  # in that channel, the model begins no other
    message = await ask(await served(model=harmony_model, never_end=True))
    assert prompts[1].endswith(f"<|end|><|start|>assistant{FINAL}")
    assert message["content"] == "42"


async def test_truncated_call_is_text(served: Any, harmony_model: Model) -> None:
    server = await served(model=harmony_model, answer=SAID_AND_CALLED, never_end=True)
    body = BODY | {"max_tokens": 5 + len(harmony_model.tokenizer.encode(SAID_AND_CALLED)) - 2}
    choice = (await server.http.post("/v1/chat/completions", json=body)).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    assert "tool_calls" not in choice["message"]
    assert choice["message"]["content"].startswith("So.")
