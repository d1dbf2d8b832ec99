"""Each checkpoint as it is served: recognised, its prompts, and sessions at every kind of end.

The engine is scripted: it thinks in random characters, and ends as the model's own texts say.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from anytime_server.api.schema.messages import Conversation
from anytime_server.reasoning import Cause
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.session import Session, events
from anytime_server.text.model import Model
from anytime_server.text.tool_calls import ToolCallParser
from anytime_server.types import GenerateRequest

from tests.families.catalogue import parameters
from tests.families.checkpoint import Checkpoint
from tests.families.engines import PlayedModel, record_requests
from tests.families.folders import checkpoint_folder
from tests.families.packages import missing
from tests.families.requests import (
    EARLIER_THINKING,
    TURNS,
    WEATHER,
    WEATHER_IN_ROME,
    calls_of,
    shows_earlier_thinking,
    tools_of,
    written_call,
)

pytestmark = pytest.mark.skipif(bool(missing()), reason="no templates: scripts/setup-families.sh")

SAID = "Let me look."
SAYS = {
    "gpt-oss": f"<|channel|>commentary<|message|>{SAID}<|end|><|start|>assistant",
    "muse-glimmer": f" to=user<|message|>{SAID}<|eom|><|start|>assistant",
    "kimi-k3": f"<|open|>response<|sep|>{SAID}<|close|>response<|sep|>",
    "cohere-2-moe": f"<|START_TEXT|>{SAID}<|END_TEXT|>",
    "ernie-4.5": f"<response>\n{SAID}\n</response>\n",
    "hunyuan-a13b": f"<answer>\n{SAID}\n</answer>\n",
    "solar-open": "",  # the end of a text is the end of its turn
}
"""How a model says something before a call, where it is not plain text."""
THINKS_AGAIN = {
    "gpt-oss": "<|channel|>analysis<|message|>",
    "muse-glimmer": " to=self<|message|>",
    "kimi-k3": "<|open|>think<|sep|>",
    "gemma-4": "<|channel>thought\n",
}
"""How a model whose opener is several tokens begins to think again, in an answer with tools."""


@pytest.fixture(scope="module", params=parameters())
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    return request.param


@pytest.fixture(scope="module")
def model(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder: Path = tmp_path_factory.mktemp("checkpoints") / checkpoint.name
    return Model.load(checkpoint_folder(checkpoint, folder))


@pytest_asyncio.fixture
async def serve(model: Model) -> AsyncIterator[Any]:
    """Starts a scheduler of the model on an engine; runs one request, returns its session and events."""
    running: list[Scheduler] = []

    async def run(engine: PlayedModel | dict[str, Any], **fields: Any) -> tuple[Session, list[events.Event]]:
        if isinstance(engine, dict):
            engine = PlayedModel(model, engine)
        scheduler = Scheduler(model, engine, measure_speed=False, continuation_key=b"0123456789abcdef")
        running.append(scheduler)
        await scheduler.start()
        session = await scheduler.submit(
            GenerateRequest(**{"messages": TURNS, "answer_tokens": 32, **fields})
        )
        emitted: list[events.Event] = []
        async for batch in session.read():
            emitted += batch
            if SAID in answer_of(emitted):
                engine.go_on.set()
        assert session.error is None
        return session, emitted

    yield run
    for scheduler in running:
        await scheduler.stop()


def answer_of(emitted: list[events.Event]) -> str:
    return "".join(event.text for event in emitted if isinstance(event, events.AnswerDelta))


def text_of(model: Model, ids: Any) -> str:
    return model.tokenizer.decode(list(ids), keeps_special=True)


def test_family_is_recognised(checkpoint: Checkpoint, model: Model) -> None:
    assert model.family.name == checkpoint.family


def test_prompt_opens_thinking_once(checkpoint: Checkpoint, model: Model) -> None:
    prompt = model.prompt(TURNS)
    text = text_of(model, prompt.ids)
    assert prompt.is_open == checkpoint.thinks
    if prompt.is_open:
        start = model.manifest.think_start.rstrip()
        assert text.rstrip().endswith(start)
        opener = text_of(model, prompt.ids[-prompt.num_opener_tokens :])
        assert opener.rstrip() == start
        assert prompt.num_opener_tokens > 0
    else:
        assert text.endswith(checkpoint.facts.default.replace("QQQ", "USR"))


def test_template_without_thinking_is_used_as_it_is(checkpoint: Checkpoint, model: Model) -> None:
    off = checkpoint.facts.off
    if off is None or not checkpoint.thinks:
        pytest.skip("its template has no switch")
    closed = model.prompt(TURNS, thinking=False).closed(model.reasoning.no_thinking_ids)
    assert closed is not None
    ending = off.ending.removeprefix("QQQ")
    # Where the template leaves the answer's opener to the model, it is there, too.
    assert text_of(model, closed).endswith((ending, ending + (model.manifest.no_thinking or "")))


@pytest.mark.parametrize("budget", [0, 1, 50])
async def test_budget_is_exact(serve: Any, checkpoint: Checkpoint, budget: int) -> None:
    session, emitted = await serve({"never_end": True}, budget_tokens=budget)
    expected = budget if checkpoint.thinks else 0
    assert session.done.stop.thinking_tokens == expected
    assert session.done.answer == "42"
    thinking = "".join(event.text for event in emitted if isinstance(event, events.ThinkingDelta))
    assert bool(thinking) == (expected > 0)


async def test_thinking_that_ends_by_itself(serve: Any, checkpoint: Checkpoint, model: Model) -> None:
    session, emitted = await serve({"thinking_tokens": 20})
    if not checkpoint.thinks:
        assert (session.done.stop.cause, session.done.stop.thinking_tokens) == (Cause.NATURAL, 0)
        return
    assert session.done.stop.cause is Cause.NATURAL
    assert session.done.stop.thinking_tokens == 19 + len(model.reasoning.think_end_ids)
    thinking = "".join(event.text for event in emitted if isinstance(event, events.ThinkingDelta))
    assert model.manifest.think_end.strip() not in thinking
    assert session.done.answer == "42"


async def test_prompt_of_the_answer(serve: Any, checkpoint: Checkpoint, model: Model) -> None:
    if not checkpoint.thinks:
        pytest.skip("it does not think")
    engine = PlayedModel(model, {"never_end": True})
    requests = record_requests(engine)
    await serve(engine, budget_tokens=9)
    thinking, answer = requests
    texts = model.manifest
    ending = f"{texts.truncation}{texts.think_end}{texts.answer_start}{texts.answer_lead_in}"
    assert text_of(model, answer.prompt_ids).endswith(ending)
    assert answer.prompt_ids[: len(thinking.prompt_ids)] == thinking.prompt_ids


@pytest.mark.parametrize("thinking", ["", "THOUGHT"])
async def test_answer_that_the_client_has_begun(
    serve: Any, checkpoint: Checkpoint, model: Model, thinking: str
) -> None:
    engine = PlayedModel(model, {"never_end": True})
    requests = record_requests(engine)
    begun = {"role": "assistant", "content": "It is", "reasoning_content": thinking}
    session, _ = await serve(engine, messages=[*TURNS, begun])
    [answer] = requests
    text, texts = text_of(model, answer.prompt_ids), model.manifest
    before = text.removesuffix("It is").rstrip()
    assert before != text
    if thinking and checkpoint.thinks:
        assert before.endswith(f"{thinking}{texts.think_end}{texts.answer_start}".rstrip())
    elif checkpoint.thinks:
        off = checkpoint.facts.off
        endings = [texts.no_thinking, texts.answer_start or texts.think_end, off and off.ending]
        is_off_by_text = model.switch.system_off != "" and model.switch.system_off in before
        assert is_off_by_text or before.endswith(tuple(end.rstrip() for end in endings if end))
    assert session.done.answer == "42"
    assert (session.done.stop.cause, session.done.stop.thinking_tokens) == (Cause.NATURAL, 0)


async def test_continuation_goes_on_from_the_same_thinking(serve: Any, checkpoint: Checkpoint) -> None:
    if not checkpoint.thinks:
        pytest.skip("it does not think")
    first, _ = await serve({"never_end": True}, budget_tokens=9)
    second, _ = await serve({"never_end": True}, budget_tokens=5, continuation=first.done.continuation)
    assert second.done.stop.thinking_tokens == 5
    assert len(second.request.carried_ids) == 9


def test_earlier_thinking_is_rendered_as_the_template_keeps_it(checkpoint: Checkpoint, model: Model) -> None:
    text = text_of(model, model.prompt(EARLIER_THINKING).ids)
    assert "ANSWER" in text
    if checkpoint.thinks:
        assert ("THOUGHT" in text) == shows_earlier_thinking(checkpoint)


def test_call_and_its_result_are_rendered(checkpoint: Checkpoint, model: Model) -> None:
    """As clients send them."""
    tools_of(checkpoint, model)
    call = {"name": "get_weather", "arguments": '{"city": "Rome"}'}
    messages = [
        {"role": "user", "content": "USR"},
        {"role": "assistant", "tool_calls": [{"id": "call00001", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "call00001", "content": "sunny"},
    ]
    prompt = model.prompt(Conversation.model_validate({"messages": messages}).turns(), [WEATHER])
    turns = text_of(model, prompt.ids).rpartition("USR")[2]
    assert turns.index("get_weather") < turns.index("Rome") < turns.index("sunny")
    assert prompt.is_open == checkpoint.thinks


def test_tool_calls_are_read_as_the_template_writes_them(checkpoint: Checkpoint, model: Model) -> None:
    tools = tools_of(checkpoint, model)
    _, calls = ToolCallParser(tools, [WEATHER]).parse(written_call(checkpoint, model))
    assert calls_of(calls) == WEATHER_IN_ROME


@pytest.mark.parametrize("budget", [0, 20])
async def test_text_before_a_call_is_shown_before_the_call_is_complete(
    serve: Any, checkpoint: Checkpoint, model: Model, budget: int
) -> None:
    tools_of(checkpoint, model)
    says = SAYS.get(checkpoint.name, SAID)
    answer = says + written_call(checkpoint, model).removeprefix(model.manifest.answer_start_with_tools)
    engine = PlayedModel(
        model,
        {"answer": answer, "never_end": True},
        pause_after=len(model.tokenizer.encode(answer)) - 3 if says else None,
    )
    session, emitted = await serve(engine, tools=(WEATHER,), answer_tokens=300, budget_tokens=budget)
    assert session.done.stop.thinking_tokens == (budget if checkpoint.thinks else 0)
    assert session.done.answer.strip() == (SAID if says else "")
    assert answer_of(emitted) == session.done.answer
    assert calls_of(session.answer.answer.tool_calls) == WEATHER_IN_ROME


async def test_thinking_again_before_the_answer_counts_on_the_budget(
    serve: Any, checkpoint: Checkpoint, model: Model
) -> None:
    reasoning, texts = model.reasoning, model.manifest
    again = THINKS_AGAIN.get(checkpoint.name)
    if not checkpoint.thinks or texts.think_start[0].isalpha():
        pytest.skip("it does not think, or it opens its thinking with a sentence")
    tools, final = (), ""
    if again is not None:
        tools, final = (WEATHER,), texts.answer_start.removeprefix(texts.answer_start_with_tools)
    engine = PlayedModel(model, {"thinking_tokens": 9}, answers=[again or texts.think_start, f"{final}42"])
    session, _ = await serve(engine, budget_tokens=50, tools=tools)
    assert session.done.answer == "42"
    assert session.done.stop.thinking_tokens == 2 * (8 + len(reasoning.think_end_ids))
    assert session.leaked_tokens <= 1
