"""OpenAI's and Anthropic's official SDKs, unchanged, on vLLM."""

from __future__ import annotations

import itertools
from typing import Any

import anthropic
import openai
import pytest

from ..servers import RealServer

PROMPT: Any = [{"role": "user", "content": "7-3"}]
BUDGETS = [1, 40]


@pytest.mark.parametrize("budget", BUDGETS)
def test_anthropic_messages(real_server: RealServer, budget: int) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": budget}
    with anthropic.Anthropic(base_url=real_server.url, api_key="none", max_retries=0) as client:
        whole = client.messages.create(model="tiny", max_tokens=200, messages=PROMPT, thinking=thinking)
        with client.messages.stream(
            model="tiny", max_tokens=200, messages=PROMPT, thinking=thinking
        ) as stream:
            streamed = stream.get_final_message()
    for message in (whole, streamed):
        # No thinking if the model ends it at once; more of it if it begins to think again in its answer.
        assert "text" in [block.type for block in message.content]
        for block in message.content:
            if block.type == "thinking":
                assert block.signature
            else:
                assert block.type == "text"
                assert block.text.strip()
    thinking_tokens = (whole.model_extra or {})["anytime"]["stop"]["thinking_tokens"]
    assert thinking_tokens <= budget
    assert whole.usage.output_tokens > thinking_tokens


def test_anthropic_continues_a_thinking_block(real_server: RealServer) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 10}
    with anthropic.Anthropic(base_url=real_server.url, api_key="none", max_retries=0) as client:
        ended_by_budget = (
            message
            for _ in range(
                5
            )  # thinking that the model ends by itself, also to think again, cannot be resumed
            if (
                message := client.messages.create(
                    model="tiny", max_tokens=200, messages=PROMPT, thinking=thinking
                )
            ).model_extra["anytime"]["stop"]["cause"]  # type: ignore[index]
            == "budget"
            and [block.type for block in message.content].count("thinking") == 1
        )
        first = next(ended_by_budget)
        turn: Any = {"role": "assistant", "content": [first.content[0].model_dump()]}
        request: Any = {"model": "tiny", "max_tokens": 200, "messages": [*PROMPT, turn], "thinking": thinking}
        second = client.messages.create(**request)
        turn["content"][0]["signature"] = turn["content"][0]["signature"][:-4] + "AAAA"
        with pytest.raises(anthropic.BadRequestError, match="signature"):
            client.messages.create(**request)
    prompts = [m.usage.input_tokens + (m.usage.cache_read_input_tokens or 0) for m in (first, second)]
    assert prompts[1] == prompts[0] + 10
    assert (second.model_extra or {})["anytime"]["stop"]["thinking_tokens"] <= 10


@pytest.mark.parametrize("budget", [0, *BUDGETS])
def test_openai_responses(real_server: RealServer, budget: int) -> None:
    extra = {"thinking_token_budget": budget}
    with openai.OpenAI(base_url=f"{real_server.url}/v1", api_key="none", max_retries=0) as client:
        whole = client.responses.create(model="tiny", input="7-3", extra_body=extra)
        with client.responses.stream(model="tiny", input="7-3", extra_body=extra) as stream:
            events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last: Any = events[-1]
    assert last.type in ("response.completed", "response.incomplete")
    for response in (whole, last.response):
        assert response.output_text.strip()
        assert response.usage is not None
        assert response.usage.output_tokens_details.reasoning_tokens <= budget
        *before, message = (item.type for item in response.output)
        assert message == "message"
        assert set(before) <= {
            "reasoning",
            "message",
        }  # a random model may think at once, not at all, or again
        assert all(one != other for one, other in itertools.pairwise([*before, message]))
