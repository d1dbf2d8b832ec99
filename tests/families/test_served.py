"""Each family as it is served: recognised, its prompts, and sessions at every kind of end.

The engine is scripted: it thinks in random characters, and ends as the model's own texts say.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from anytime_server.api.schema.messages import Conversation
from anytime_server.engine import Delta, EngineRequest
from anytime_server.engine.scripted import Script, ScriptedEngine
from anytime_server.reasoning import Cause
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.session import Session, events
from anytime_server.text.model import Model
from anytime_server.text.tool_calls import ModelTools, ToolCallParser
from anytime_server.types import GenerateRequest

from tests.families.catalogue import FAMILIES
from tests.families.facts import FACTS
from tests.families.folders import family_folder
from tests.families.packages import missing
from tests.families.test_facts import WEATHER, tool_loop

pytestmark = pytest.mark.skipif(bool(missing()), reason="no templates: scripts/setup-families.sh")

SERVED_AS = {
    "qwen3-thinking-2507": "qwen3-thinking",
    "qwen3-next-thinking": "qwen3-thinking",
    "qwq": "qwen3-thinking",
    "qwen3.5": "qwen3",
    "qwen3.6": "qwen3",
    "minicpm5": "qwen3",
    "deepseek-r1-distill-qwen": "deepseek-r1",
    "deepseek-r1-distill-llama": "deepseek-r1",
    "ministral-3-reasoning": "magistral",
    "nemotron-nano-v2": "nemotron",
    "nemotron-3": "nemotron",
    "apriel-1.6": "apriel",
    "glm-4.6": "glm-4.5",
    "glm-4.7-flash": "glm-4.5",
    "step-3.5": "step-3",
    "lfm2.5": "think-tags",
}
"""The name of the family that a checkpoint is recognised as, where it is not its own."""
EVERY_PUSH = {
    "qwen3",
    "deepseek-v3.1",
    "gpt-oss",
    "seed-oss",
    "hunyuan-a13b",
    "glm-4.6",
    "qwen3-instruct-2507",
}
"""Between them: each kind of marker, of switch and of end. The others run nightly."""
IN_PARTS = {"magistral", "ministral-3-reasoning"}
"""Their templates read earlier thinking as parts of the content."""
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
"""How a family says something before a call, where it is not plain text."""
THINKS_AGAIN = {
    "gpt-oss": "<|channel|>analysis<|message|>",
    "muse-glimmer": " to=self<|message|>",
    "kimi-k3": "<|open|>think<|sep|>",
    "gemma-4": "<|channel>thought\n",
}
"""How a family whose opener is several tokens begins to think again, in an answer with tools."""
TURNS = [{"role": "system", "content": "SYS"}, {"role": "user", "content": "USR"}]
THINKING = [name for name, facts in FACTS.items() if facts.start]


def parameters(names: Any) -> list[Any]:
    return [
        pytest.param(name, marks=() if name in EVERY_PUSH else pytest.mark.nightly, id=name) for name in names
    ]


@pytest.fixture(scope="module", params=parameters(FAMILIES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder: Path = tmp_path_factory.mktemp("families") / name
    return Model.load(family_folder(name, folder))


@pytest_asyncio.fixture
async def serve(model: Model) -> AsyncIterator[Any]:
    """Starts a scheduler of the model on a script; runs one request and returns its session and events."""
    running: list[Scheduler] = []

    async def run(
        script: dict[str, Any] | None = None, *, kind: type[ScriptedEngine] = ScriptedEngine, **fields: Any
    ) -> tuple[Session, list[events.Event]]:
        engine = kind(model.tokenizer, model.reasoning, script=Script(**script or {}), window_tokens=4096)
        scheduler = Scheduler(model, engine, measure_speed=False, continuation_key=b"0123456789abcdef")
        running.append(scheduler)
        await scheduler.start()
        session = await scheduler.submit(
            GenerateRequest(**{"messages": TURNS, "answer_tokens": 32, **fields})
        )
        emitted: list[events.Event] = []
        async for batch in session.read():
            emitted += batch
            if isinstance(engine, Pausing) and SAID in answer_of(emitted):
                engine.go_on.set()
        assert session.error is None
        return session, emitted

    yield run
    for scheduler in running:
        await scheduler.stop()


class Pausing(ScriptedEngine):
    """Waits before the last tokens of an answer until it may go on."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.go_on = asyncio.Event()

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Delta, None]:
        last = len(self._encode(self.script.answer)) - 3
        is_answer = "-answer-" in request.id
        async with aclosing(super().generate(request)) as deltas:
            num = 0
            async for delta in deltas:
                num += 1
                if is_answer and num == last:
                    async with asyncio.timeout(5):
                        await self.go_on.wait()
                yield delta


def answer_of(emitted: list[events.Event]) -> str:
    return "".join(event.text for event in emitted if isinstance(event, events.AnswerDelta))


def text_of(model: Model, ids: Any) -> str:
    return model.tokenizer.decode(list(ids), keeps_special=True)


def test_family_is_recognised(name: str, model: Model) -> None:
    expected = SERVED_AS.get(name, name) if FACTS[name].start else "no-thinking"
    assert model.family.name == expected


def test_prompt_opens_thinking_once(name: str, model: Model) -> None:
    prompt = model.prompt(TURNS)
    text = text_of(model, prompt.ids)
    assert prompt.is_open == bool(FACTS[name].start)
    if prompt.is_open:
        start = model.manifest.think_start.rstrip()
        assert text.rstrip().endswith(start)
        opener = text_of(model, prompt.ids[-prompt.num_opener_tokens :])
        assert opener.rstrip() == start
        assert prompt.num_opener_tokens > 0
    else:
        assert text.endswith(FACTS[name].default.replace("QQQ", "USR"))


def test_template_without_thinking_is_used_as_it_is(name: str, model: Model) -> None:
    off = FACTS[name].off
    if off is None or not FACTS[name].start:
        pytest.skip("its template has no switch")
    closed = model.prompt(TURNS, thinking=False).closed(model.reasoning.no_thinking_ids)
    assert closed is not None
    ending = off.ending.removeprefix("QQQ")
    # Where the template leaves the answer's opener to the model, it is there, too.
    assert text_of(model, closed).endswith((ending, ending + (model.manifest.no_thinking or "")))


@pytest.mark.parametrize("budget", [0, 1, 50])
async def test_budget_is_exact(serve: Any, name: str, budget: int) -> None:
    session, emitted = await serve({"never_end": True}, budget_tokens=budget)
    expected = budget if FACTS[name].start else 0
    assert session.done.stop.thinking_tokens == expected
    assert session.done.answer == "42"
    thinking = "".join(event.text for event in emitted if isinstance(event, events.ThinkingDelta))
    assert bool(thinking) == (expected > 0)


async def test_thinking_that_ends_by_itself(serve: Any, name: str, model: Model) -> None:
    session, emitted = await serve({"thinking_tokens": 20})
    if not FACTS[name].start:
        assert (session.done.stop.cause, session.done.stop.thinking_tokens) == (Cause.NATURAL, 0)
        return
    assert session.done.stop.cause is Cause.NATURAL
    assert session.done.stop.thinking_tokens == 19 + len(model.reasoning.think_end_ids)
    thinking = "".join(event.text for event in emitted if isinstance(event, events.ThinkingDelta))
    assert model.manifest.think_end.strip() not in thinking
    assert session.done.answer == "42"


async def test_prompt_of_the_answer(serve: Any, name: str, model: Model) -> None:
    if not FACTS[name].start:
        pytest.skip("it does not think")
    prompts: list[str] = []
    session, _ = await serve({"never_end": True}, budget_tokens=9)
    truncation = session.request.truncate(session._thinking.token_ids, Cause.BUDGET, model)
    prompts.append(text_of(model, truncation.answer_prompt(session.request.prompt_ids)))
    texts = model.manifest
    ending = f"{texts.truncation}{texts.think_end}{texts.answer_start}{texts.answer_lead_in}"
    assert prompts[0].endswith(ending)


async def test_continuation_goes_on_from_the_same_thinking(serve: Any, name: str) -> None:
    if not FACTS[name].start:
        pytest.skip("it does not think")
    first, _ = await serve({"never_end": True}, budget_tokens=9)
    second, _ = await serve({"never_end": True}, budget_tokens=5, continuation=first.done.continuation)
    assert second.done.stop.thinking_tokens == 5
    assert len(second.request.carried_ids) == 9


def test_earlier_thinking_is_rendered_as_the_template_keeps_it(name: str, model: Model) -> None:
    turns = [
        {"role": "user", "content": "USR"},
        {"role": "assistant", "content": "ANSWER", "reasoning_content": "THOUGHT"},
        {"role": "user", "content": "AGAIN"},
    ]
    text = text_of(model, model.prompt(turns).ids)
    assert "ANSWER" in text
    if FACTS[name].start:
        assert ("THOUGHT" in text) == (FACTS[name].keeps == "always" or name in IN_PARTS)


def test_call_and_its_result_are_rendered(name: str, model: Model) -> None:
    """As clients send them."""
    tools_of(name, model)
    call = {"name": "get_weather", "arguments": '{"city": "Rome"}'}
    messages = [
        {"role": "user", "content": "USR"},
        {"role": "assistant", "tool_calls": [{"id": "call00001", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "call00001", "content": "sunny"},
    ]
    prompt = model.prompt(Conversation.model_validate({"messages": messages}).turns(), [WEATHER])
    turns = text_of(model, prompt.ids).rpartition("USR")[2]
    assert turns.index("get_weather") < turns.index("Rome") < turns.index("sunny")
    assert prompt.is_open == bool(FACTS[name].start)


def written_call(name: str, model: Model) -> str:
    """A call of get_weather as the chat template renders it."""
    called = model.tokenizer.hugging_face.apply_chat_template(
        tool_loop(name)[:2],
        tools=[WEATHER],
        tokenize=False,
        **{**model.switch.on, "add_generation_prompt": False},
    )
    assert isinstance(called, str)
    return called[called.rindex(FACTS[name].tool_call) :]


def tools_of(name: str, model: Model) -> ModelTools:
    tools = ModelTools.of(model, parser=None)
    if tools is None or not FACTS[name].tool_call:
        pytest.skip("its template takes no tools, or the format of its calls is not known")
    return tools


def calls_of(calls: Any) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in calls]


def test_tool_calls_are_read_as_the_template_writes_them(name: str, model: Model) -> None:
    tools = tools_of(name, model)
    _, calls = ToolCallParser(tools, [WEATHER]).parse(written_call(name, model))
    assert calls_of(calls) == [("get_weather", {"city": "Rome"})]


@pytest.mark.parametrize("budget", [0, 20])
async def test_text_before_a_call_is_shown_before_the_call_is_complete(
    serve: Any, name: str, model: Model, budget: int
) -> None:
    tools_of(name, model)
    says = SAYS.get(name, SAID)
    call = written_call(name, model).removeprefix(model.manifest.answer_start_with_tools)
    kind = Pausing if says else ScriptedEngine
    session, emitted = await serve(
        {"answer": says + call, "never_end": True},
        kind=kind,
        tools=(WEATHER,),
        answer_tokens=300,
        budget_tokens=budget,
    )
    assert session.done.stop.thinking_tokens == (budget if FACTS[name].start else 0)
    assert session.done.answer.strip() == (SAID if says else "")
    assert answer_of(emitted) == session.done.answer
    assert calls_of(session.answer.answer.tool_calls) == [("get_weather", {"city": "Rome"})]


async def test_thinking_again_before_the_answer_counts_on_the_budget(
    serve: Any, name: str, model: Model
) -> None:
    reasoning = model.reasoning
    opener = model.manifest.think_start
    if name not in THINKS_AGAIN and (reasoning.think_start_id is None or not FACTS[name].start):
        pytest.skip("its opener is no single token, or it does not think")
    tools = (WEATHER,) if name in THINKS_AGAIN else ()
    final = model.manifest.answer_start.removeprefix(model.manifest.answer_start_with_tools) if tools else ""
    answers = iter([THINKS_AGAIN.get(name, opener), f"{final}42"])

    class ThinkingTwice(ScriptedEngine):
        def _answer(self, prompt_ids: list[int]) -> str:
            return next(answers)

    session, _ = await serve({"thinking_tokens": 9}, kind=ThinkingTwice, budget_tokens=50, tools=tools)
    assert session.done.answer == "42"
    assert session.done.stop.thinking_tokens == 2 * (8 + len(reasoning.think_end_ids))
    assert session.leaked_tokens <= 1
