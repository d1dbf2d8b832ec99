"""Completions of texts without a chat template."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import openai
import pytest
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.text.model import Model

from ...conftest import Served
from ...test_adapters import record
from ...test_begun_answers import prompt

PATH = "/v1/completions"
TEXT = "7-3 is"
JSON = {"content-type": "application/json"}


async def create(client: openai.AsyncOpenAI, **fields: Any) -> Any:
    """Create a completion; fields that are no arguments of the SDK go into the body."""
    known = inspect.signature(client.completions.create).parameters
    extra = {name: fields.pop(name) for name in list(fields) if name not in known}
    usual: dict[str, Any] = {"model": "tiny", "prompt": TEXT}
    return await client.completions.create(**(usual | fields), extra_body=extra or None)


async def post(server: Served, **fields: Any) -> dict[str, Any]:
    response = await server.http.post(PATH, json={"prompt": TEXT} | fields)
    assert response.status_code == 200, response.text
    return response.json()


async def test_text_is_continued_as_it_is(served: Any) -> None:
    server = await served(answer=" 4")
    found = record(server)
    body = await post(server)
    assert [prompt(server, one) for one in found] == [TEXT]
    assert (body["object"], body["id"][:5]) == ("text_completion", "cmpl-")
    assert body["choices"] == [{"index": 0, "text": " 4", "logprobs": None, "finish_reason": "stop"}]
    usage = body["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (len(TEXT), 3)  # with the end of the turn
    assert body["anytime"]["stop"] == {"cause": "natural", "budget_tokens": 0, "thinking_tokens": 0}
    assert body["anytime"]["ignored"] == []


async def test_sdk_gets_the_same_whole_and_streamed(sdk: Any) -> None:
    client = await sdk(answer="a b c", tokens_per_step=1)
    for fields in ({}, {"n": 2, "echo": True}, {"logprobs": 2}, {"prompt": [TEXT, "9"], "n": 2}):
        whole = await create(client, **fields)
        stream = await create(client, **fields, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
        texts = [""] * len(whole.choices)
        reasons: dict[int, str] = {}
        for chunk in chunks:
            for choice in chunk.choices:
                texts[choice.index] += choice.text
                reasons |= {choice.index: choice.finish_reason} if choice.finish_reason else {}
        assert texts == [choice.text for choice in whole.choices]
        assert reasons == {choice.index: choice.finish_reason for choice in whole.choices}
        assert chunks[-1].usage == whole.usage
        assert chunks[0].choices[0].text, "the first chunk has the first token"


async def test_stream_has_usage_only_where_it_is_asked_for(served: Any) -> None:
    server = await served()
    response = await server.http.post(PATH, json={"prompt": TEXT, "stream": True})
    lines = [line for line in response.text.split("\n") if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert all("usage" not in chunk for chunk in chunks)
    assert chunks[-1]["anytime"]["stop"]["cause"] == "natural"


async def test_prompts_can_be_many_and_token_ids(served: Any) -> None:
    server = await served(never_end=True)
    encode = server.scheduler.model.tokenizer.encode
    found = record(server)
    for prompts in ([TEXT, "9"], [encode(TEXT), encode("9")], [TEXT, encode("9")]):
        found.clear()
        body = await post(server, prompt=prompts, n=2, seed=5)
        assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
        assert [prompt(server, one) for one in found] == [TEXT, TEXT, "9", "9"]
        assert [one.sampling.seed for one in found] == [5, 6, 5, 6]
        assert body["usage"]["prompt_tokens"] == len(TEXT) + 1
    found.clear()
    await post(server, prompt=encode(TEXT))
    assert [prompt(server, one) for one in found] == [TEXT]


async def test_echo_begins_each_text_with_its_prompt(served: Any) -> None:
    server = await served()
    encode = server.scheduler.model.tokenizer.encode
    body = await post(server, prompt=[TEXT, encode("9<|end|>")], echo=True)
    assert [choice["text"] for choice in body["choices"]] == [f"{TEXT}42", "9<|end|>42"]


async def test_max_tokens_is_16_unless_given(served: Any) -> None:
    server = await served(answer="x" * 100)
    for fields, num_tokens in (({}, 16), ({"max_tokens": None}, 16), ({"max_tokens": 3}, 3)):
        body = await post(server, **fields)
        assert body["choices"][0]["text"] == "x" * num_tokens
        assert body["choices"][0]["finish_reason"] == "length"
        assert body["usage"]["completion_tokens"] == num_tokens


async def test_window_is_used_to_its_last_token(served: Any) -> None:
    server = await served(answer="x" * 200, window_tokens=100)
    body = await post(server, max_tokens=100 - len(TEXT))
    assert body["usage"]["total_tokens"] == 100


async def test_sampling_fields_and_stops_hold(served: Any) -> None:
    server = await served(answer="\n\nQ: next")
    found = record(server)
    fields = {
        "temperature": 0.5,
        "top_p": 0.9,
        "min_tokens": 2,
        "seed": 3,
        "stop": ["Q:"],
        "ignore_eos": True,
    }
    body = await post(server, **fields)
    sampling = found[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.min_tokens, sampling.seed) == (0.5, 0.9, 2, 3)
    assert not sampling.stop_ids
    assert body["choices"][0]["text"] == "\n\n"
    assert (await post(server, stop="\n"))["choices"][0]["text"] == ""


async def test_blank_continuation_is_accepted(served: Any) -> None:
    server = await served(answer="<|end|>")
    found = record(server)
    assert (await post(server))["choices"][0]["text"] == ""
    assert len(found) == 1
    assert found[0].sampling.min_tokens == 0


async def test_markers_are_text(served: Any) -> None:
    """Without a budget, a completion shows what is sampled, as vLLM does."""
    server = await served(answer="<think>so</think>4")
    body = await post(server, skip_special_tokens=False)
    assert body["choices"][0]["text"] == "<think>so</think>4"


async def test_logprobs_are_lists(sdk: Any) -> None:
    client = await sdk(answer="4 5")
    completion = await create(client, logprobs=2)
    logprobs = completion.choices[0].logprobs
    assert logprobs.tokens == ["4", " ", "5"]
    assert logprobs.text_offset == [0, 1, 2]
    assert all(value <= 0 for value in logprobs.token_logprobs)
    for token, value, top in zip(
        logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True
    ):
        assert top[token] == value
        assert len(top) == 2
    assert (await create(client, logprobs=0)).choices[0].logprobs.top_logprobs[0].keys() == {"4"}


@pytest.mark.parametrize("max_tokens", [0, 1])
async def test_echo_has_the_logprobs_of_the_prompt(sdk: Any, max_tokens: int) -> None:
    """As evaluations ask for the likelihood of a text: its first token has none."""
    client = await sdk(answer="4")
    for text in (TEXT, [one % 256 for one in range(1, 7)]):
        completion = await create(client, prompt=text, echo=True, logprobs=1, max_tokens=max_tokens)
        [choice] = completion.choices
        logprobs = choice.logprobs
        num = 6 + max_tokens
        assert logprobs.token_logprobs[:6] == [None, -0.5, -1, -1.5, -2, -2.5]
        assert [len(logprobs.tokens), len(logprobs.top_logprobs), len(logprobs.text_offset)] == [num] * 3
        assert logprobs.top_logprobs[0] is None
        assert logprobs.top_logprobs[2] == {logprobs.tokens[2]: -1}
        assert choice.text == "".join(logprobs.tokens)
        if text == TEXT:
            assert choice.text == TEXT + "4" * max_tokens
            assert logprobs.text_offset == list(range(num))
    completion = await create(client, prompt="7", echo=True, logprobs=1, max_tokens=max_tokens)
    assert completion.choices[0].logprobs.token_logprobs[0] is None
    stream = await create(client, echo=True, logprobs=1, max_tokens=1, stream=True)
    reported = [token async for chunk in stream for token in _tokens(chunk)]
    assert reported == list(f"{TEXT}4")


def _tokens(chunk: Any) -> list[str]:
    return [token for choice in chunk.choices if choice.logprobs for token in choice.logprobs.tokens]


async def test_prompt_that_is_too_short_for_the_engine_is_refused(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM's CPU build needs five tokens."""
    monkeypatch.setattr(ScriptedEngine, "min_prompt_tokens", 5)
    server = await served()
    response = await server.http.post(PATH, json={"prompt": "7-3"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "prompt")
    assert (await post(server, prompt="7-3 ="))["choices"]


async def test_engine_that_scores_no_prompts_refuses(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScriptedEngine, "scores_prompts", False)
    server = await served()
    response = await server.http.post(PATH, json={"prompt": TEXT, "echo": True, "logprobs": 1})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "logprobs")
    assert (await post(server, logprobs=1))["choices"][0]["logprobs"]


OPEN = "<|user|>7-3<|end|><|assistant|><think>Let me"


@pytest.mark.parametrize("text", [OPEN, OPEN.removesuffix("Let me")])
async def test_open_thinking_is_truncated_at_a_budget(served: Any, text: str) -> None:
    server = await served(never_end=True)
    found = record(server)
    body = await post(server, prompt=text, thinking_token_budget=6)
    assert [prompt(server, one)[: len(text)] for one in found] == [text, text]
    assert prompt(server, found[1]).endswith("...</think>Answer: ")
    thinking, answer = body["choices"][0]["text"].split("</think>")
    assert (len(thinking), answer) == (6, "42")
    assert body["anytime"]["stop"] == {"cause": "budget", "budget_tokens": 6, "thinking_tokens": 6}
    assert body["usage"]["completion_tokens_details"] == {"reasoning_tokens": 6}
    assert body["usage"]["completion_tokens"] == 9


async def test_budget_without_open_thinking_is_reported(served: Any) -> None:
    server = await served()
    body = await post(server, thinking_token_budget=6)
    assert body["anytime"]["ignored"] == ["thinking_token_budget"]
    body = await post(server, prompt="<think>so</think>", reasoning_effort="low", max_tokens=200)
    assert body["anytime"]["ignored"] == ["reasoning_effort"]
    body = await post(server, thinking_token_budget=9, max_tokens=4)
    assert body["anytime"]["ignored"] == ["thinking_token_budget"]
    assert (await post(server, thinking_token_budget=0))["anytime"]["ignored"] == []


async def test_budget_leaves_the_answer_its_room(served: Any) -> None:
    server = await served()
    fields = {"prompt": "7-3<think>so", "thinking_token_budget": 9, "max_tokens": 9}
    refused = (await server.http.post(PATH, json=fields)).json()["error"]
    assert (refused["param"], "leaves 0 tokens" in refused["message"]) == ("thinking_token_budget", True)


EFFORTS = [
    ("reasoning_effort", {"reasoning_effort": "low"}),
    ("reasoning.effort", {"reasoning": {"effort": "low"}}),
]


@pytest.mark.parametrize(("field", "fields"), EFFORTS)
async def test_effort_is_a_budget_within_open_thinking(served: Any, field: str, fields: Any) -> None:
    server = await served(never_end=True)
    body = await post(server, prompt=OPEN, max_tokens=100, **fields)
    assert body["anytime"]["stop"] == {"cause": "budget", "budget_tokens": 20, "thinking_tokens": 20}
    assert body["anytime"]["ignored"] == []
    body = await post(server, prompt=OPEN, max_tokens=100, thinking_token_budget=6, **fields)
    assert body["anytime"]["stop"]["thinking_tokens"] == 6
    assert body["anytime"]["ignored"] == [field]
    body = await post(server, max_tokens=100, **fields)
    assert body["anytime"]["ignored"] == [field]


async def test_text_shows_the_model_no_effort(served: Any, tiny_checkpoint: Path) -> None:
    """An effort beside a budget has no effect on a text, even if the chat template shows efforts."""
    template = "{{ messages[0].content }}{{ reasoning_effort }}<think>"
    server = await served(model=Model.load(tiny_checkpoint, chat_template=template), never_end=True)
    body = await post(server, prompt=OPEN, thinking_token_budget=6, reasoning_effort="low")
    assert body["anytime"]["ignored"] == ["reasoning_effort"]


async def test_no_effort_closes_open_thinking(served: Any) -> None:
    server = await served(never_end=True)
    body = await post(server, prompt=OPEN, reasoning_effort="none")
    assert body["anytime"]["stop"] == {"cause": "budget", "budget_tokens": 0, "thinking_tokens": 0}
    assert body["anytime"]["ignored"] == []


WITHOUT_EFFECT: list[tuple[str, dict[str, Any]]] = [
    ("reasoning.exclude", {"reasoning": {"exclude": True, "max_tokens": 6}}),
    ("include_reasoning", {"include_reasoning": False, "thinking_token_budget": 6}),
    ("chat_template_kwargs.tone", {"chat_template_kwargs": {"thinking_budget": 6, "tone": "dry"}}),
    ("chat_template_kwargs.enable_thinking", {"chat_template_kwargs": {"enable_thinking": True}}),
    ("thinking.type", {"thinking": {"type": "enabled"}}),
    ("best_of", {"best_of": 3, "user": "me", "suffix": ""}),
    ("priority", {"priority": 1}),
]


async def test_fields_without_effect_are_reported(served: Any) -> None:
    server, strict = await served(never_end=True), await served(app={"is_strict": True})
    for field, fields in WITHOUT_EFFECT:
        body = await post(server, prompt=OPEN, **fields)
        assert body["anytime"]["ignored"] == [field]
        refused = await strict.http.post(PATH, json={"prompt": OPEN} | fields)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)


async def test_rule_that_ends_no_thinking_is_reported(served: Any) -> None:
    server = await served()
    body = await post(server, anytime={"stop_when": {"stable": 2, "every_tokens": 4}})
    assert body["anytime"]["ignored"] == ["anytime.stop_when"]


async def test_field_of_the_anytime_object_is_named_as_it_is_written(served: Any) -> None:
    server = await served()
    fields = {"prompt": OPEN, "anytime": {"budget": {"share": 0.5, "of": "max_tokens"}}}
    refused = await server.http.post(PATH, json=fields)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "anytime.budget.of")


BAD: list[tuple[str, Any]] = [
    ("prompt", {"prompt": None}),
    ("prompt", {"prompt": []}),
    ("prompt", {"prompt": ""}),
    ("prompt", {"prompt": [[]]}),
    ("prompt", {"prompt": [1, "a"]}),
    ("prompt", {"prompt": [True]}),
    ("prompt", {"prompt": [-1]}),
    ("prompt", {"prompt": [10**6]}),
    ("prompt", {"prompt": ["a"] * 129}),
    ("prompt", {"prompt": {"text": "a"}}),
    ("prompt", {"prompt": "7" * 2000}),
    ("prompt", {"prompt": "\ud800"}),
    ("suffix", {"suffix": "the end"}),
    ("max_tokens", {"max_tokens": -1}),
    ("max_tokens", {"max_tokens": 0}),
    ("logprobs", {"logprobs": 1, "echo": True, "thinking_token_budget": 8}),
    ("logprobs", {"logprobs": True}),
    ("logprobs", {"logprobs": 21}),
    ("n", {"n": 17}),
    ("thinking_budget", {"thinking_token_budget": 4, "thinking_budget": 5}),
    ("anytime.continuation", {"anytime": {"continuation": "x"}}),
]


async def test_bad_requests_get_400_with_their_parameter(served: Any) -> None:
    server = await served()
    for param, fields in BAD:
        content = json.dumps({"prompt": TEXT} | fields)  # in ASCII, so that it can contain lone surrogates
        response = await server.http.post(PATH, content=content, headers=JSON)
        assert response.status_code == 400, (fields, response.text)
        error = response.json()["error"]
        assert (error["type"], error["param"]) == ("invalid_request_error", param), fields


async def test_overflow_is_recognised(sdk: Any) -> None:
    client = await sdk(window_tokens=1024)
    with pytest.raises(openai.BadRequestError, match="maximum context length is 1024 tokens") as refused:
        await create(client, prompt="7" * 1024)
    assert refused.value.code == "context_length_exceeded"


async def test_unknown_model_is_404(sdk: Any) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        await create(await sdk(), model="gpt-0")
    assert refused.value.code == "model_not_found"


async def test_usage_on_every_chunk_is_not_served(served: Any) -> None:
    server = await served()
    options = {"include_usage": True, "continuous_usage_stats": True}
    reply = await server.http.post("/v1/completions", json={"prompt": "7-3=", "stream_options": options})
    assert reply.json()["anytime"]["ignored"] == ["stream_options.continuous_usage_stats"]
    assert reply.json()["system_fingerprint"].startswith("anytime-")


async def test_offsets_of_parts_of_characters_are_within_the_text(served: Any) -> None:
    server = await served(answer="\u00e9\u65e5\u672c")
    fields = {"prompt": "\u00e9\u65e5", "logprobs": 0, "echo": True, "max_tokens": 8}
    choice = (await post(server, **fields))["choices"][0]
    offsets = choice["logprobs"]["text_offset"]
    assert offsets == sorted(offsets)
    assert offsets[-1] <= len(choice["text"])
