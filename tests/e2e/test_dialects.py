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


def test_openai_completions(real_server: RealServer) -> None:
    request: Any = {
        "model": "tiny",
        "prompt": ["7-3 is", [55, 45, 51, 32, 61]],
        "max_tokens": 9,
        "temperature": 0,
    }
    with openai.OpenAI(base_url=f"{real_server.url}/v1", api_key="none", max_retries=0) as client:
        whole = client.completions.create(**request, logprobs=3, extra_body={"ignore_eos": True})
        texts = [""] * 2
        for chunk in client.completions.create(**request, stream=True, extra_body={"ignore_eos": True}):
            for choice in chunk.choices:
                texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 18
    for choice in whole.choices:
        assert choice.finish_reason == "length"
        assert choice.logprobs is not None
        assert choice.logprobs.token_logprobs
        for token, top in zip(choice.logprobs.tokens or (), choice.logprobs.top_logprobs or (), strict=True):
            assert max(top, key=lambda text: top[text]) == token  # greedy


def test_openai_completions_score_a_prompt(real_server: RealServer) -> None:
    """The tokens of a prompt are as likely as when the model sampled them."""
    request: Any = {"model": "tiny", "temperature": 0, "logprobs": 1}
    ids = list(range(60, 70))
    with openai.OpenAI(base_url=f"{real_server.url}/v1", api_key="none", max_retries=0) as client:
        create: Any = client.completions.create
        sampled = create(**request, prompt=ids, max_tokens=1, extra_body={"logit_bias": {"70": 100}})
        repeated = [create(**request, prompt=[*ids, 70], max_tokens=0, echo=True) for _ in range(2)]
    [likelihood] = sampled.choices[0].logprobs.token_logprobs
    for echoed in repeated:  # the second time, the prefix might be cached
        [choice] = echoed.choices
        assert choice.text == "".join(choice.logprobs.tokens)
        assert len(choice.logprobs.tokens) == 11
        first, *others = choice.logprobs.token_logprobs
        assert first is None
        assert all(value < 0 for value in others)
        assert others[-1] == pytest.approx(likelihood, abs=0.05)


def test_answer_that_the_client_has_begun(real_server: RealServer) -> None:
    begun: Any = [*PROMPT, {"role": "assistant", "content": "It is "}]
    with openai.OpenAI(base_url=f"{real_server.url}/v1", api_key="none", max_retries=0) as client:
        completion = client.chat.completions.create(model="tiny", messages=begun, max_tokens=9, temperature=0)
        echoed = client.chat.completions.create(
            model="tiny", messages=begun, max_tokens=9, temperature=0, extra_body={"echo": True}
        )
    stop = (completion.model_extra or {})["anytime"]["stop"]
    assert stop == {"cause": "natural", "budget_tokens": 0, "thinking_tokens": 0}
    assert echoed.choices[0].message.content == f"It is {completion.choices[0].message.content}"
