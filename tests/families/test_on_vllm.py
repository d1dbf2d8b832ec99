"""Each checkpoint on vLLM: its vocabulary and template, random weights, and sessions at every kind of end.

The weights are of the model's own architecture where vLLM's CPU build runs it, and a small Qwen3's where it
does not. `forced.py` makes them write the think-ends and tool calls that random weights would not.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from anytime_server.engine import EngineRequest
from anytime_server.reasoning import Cause, SamplingOptions
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.session import events
from anytime_server.text.model import Model
from anytime_server.types import GenerateRequest

from tests.families.catalogue import CHECKPOINTS
from tests.families.checkpoint import Checkpoint
from tests.families.engines import record_requests
from tests.families.folders import checkpoint_folder, make_runnable
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

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(bool(missing()), reason="no templates: scripts/setup-families.sh"),
]

ANSWER_TOKENS = 8
OPTIONS = {
    "window_tokens": 2048,
    "max_num_seqs": 4,
    "logits_processors": ["tests.families.forced:ForcedTokens"],
}


@dataclass
class Served:
    """A checkpoint's model on vLLM."""

    checkpoint: Checkpoint
    model: Model
    scheduler: Scheduler
    requests: list[EngineRequest]
    """All that the engine was given."""

    def encode(self, text: str) -> list[int]:
        return self.model.tokenizer.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self.model.tokenizer.decode(list(ids), keeps_special=True)

    async def run(
        self, *texts: Sequence[int], **fields: Any
    ) -> tuple[Any, list[events.Event], list[EngineRequest]]:
        """Run one session; return it, its events and what it asked the engine for.

        Args:
            texts: ids that the model writes in its first, second, … engine request; without them, thinking
                and answer are random and never end by themselves.
        """
        if texts:
            from tests.families.forced import force

            force(self.model.folder, texts)
            fields.setdefault("answer_tokens", 128)
        else:
            endless = dict.fromkeys(self.model.reasoning.thinking_stop_ids, -100.0)
            fields["thinking"] = SamplingOptions(logit_bias=endless)
            # Greedy answers of random weights would repeat the last token of the prompt, often white space.
            fields["answer"] = SamplingOptions(logit_bias=endless, temperature=1.0)
        before = len(self.requests)
        given = {"messages": TURNS, "answer_tokens": ANSWER_TOKENS, "seed": 1, **fields}
        session = await self.scheduler.submit(GenerateRequest(**given))
        emitted = [event async for batch in session.read() for event in batch]
        assert session.error is None
        return session, emitted, self.requests[before:]


@pytest.fixture(scope="module", params=CHECKPOINTS.values(), ids=list(CHECKPOINTS))
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    return request.param


@pytest.fixture(scope="module")
async def served(
    checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Served, None]:
    from anytime_server.engine.vllm import VllmEngine, VllmOptions  # not where these tests are deselected

    folder: Path = checkpoint_folder(checkpoint, tmp_path_factory.mktemp("on-vllm") / checkpoint.name)
    model = Model.load(folder)  # recognised by its own configuration
    make_runnable(checkpoint, folder)
    engine = VllmEngine(folder, options=VllmOptions.model_validate(OPTIONS))
    requests = record_requests(engine)
    scheduler = Scheduler(model, engine, measure_speed=False, continuation_key=b"0123456789abcdef")
    await scheduler.start()
    yield Served(checkpoint, model, scheduler, requests)
    await scheduler.stop()


@pytest.mark.parametrize("budget", [0, 1, 50])
async def test_budget_is_exact(served: Served, budget: int) -> None:
    session, emitted, requests = await served.run(budget_tokens=budget)
    expected = budget if served.checkpoint.thinks else 0
    assert session.done.stop.thinking_tokens == expected
    assert session.done.usage.answer_tokens == ANSWER_TOKENS
    assert session.done.answer.strip()
    assert len(requests) == (2 if expected else 1)
    shown = [event.total_tokens for event in emitted if isinstance(event, events.ThinkingDelta)]
    assert (shown[-1] if shown else 0) == expected
    if served.checkpoint.thinks:
        assert session.done.stop.cause is Cause.BUDGET


async def test_thinking_that_ends_by_itself(served: Served) -> None:
    model = served.model
    answer = [*served.encode("42" + model.manifest.answer_end), min(model.reasoning.eos_ids)]
    if not served.checkpoint.thinks:
        session, _, _ = await served.run(answer)
        assert (session.done.answer, session.done.stop.thinking_tokens) == ("42", 0)
        return
    thinking = served.encode("so it is 6 times 7")
    session, emitted, requests = await served.run([*thinking, *model.reasoning.think_end_ids], answer)
    assert session.done.stop.cause is Cause.NATURAL
    assert session.done.stop.thinking_tokens == len(thinking) + len(model.reasoning.think_end_ids)
    shown = "".join(event.text for event in emitted if isinstance(event, events.ThinkingDelta))
    assert shown.strip() == "so it is 6 times 7"
    assert session.done.answer == "42"
    texts = model.manifest
    written = served.decode(requests[1].prompt_ids[len(requests[0].prompt_ids) :])
    assert written.endswith(f"so it is 6 times 7{texts.think_end}{texts.answer_start}")


async def test_form_without_thinking(served: Served) -> None:
    facts, model = served.checkpoint.facts, served.model
    if facts.off is None or not served.checkpoint.thinks:
        pytest.skip("its template has no switch")
    session, _, requests = await served.run(budget_tokens=0)
    # Where the template leaves the answer's opener to the model, it is there, too, and so is the lead-in.
    ending, texts = facts.off.ending.removeprefix("QQQ"), model.manifest
    possible = [ending, ending + (texts.no_thinking or "")]
    possible += [one + texts.answer_lead_in for one in possible]
    assert served.decode(requests[0].prompt_ids).endswith(tuple(possible))
    assert session.done.answer.strip()


async def test_tool_call(served: Served) -> None:
    checkpoint, model = served.checkpoint, served.model
    tools_of(checkpoint, model)
    written = written_call(checkpoint, model).removeprefix(model.manifest.answer_start_with_tools)
    call = [*served.encode(written), min(model.reasoning.eos_ids)]
    thinking = [*served.encode("I need the weather"), *model.reasoning.think_end_ids]
    texts = [thinking, call] if checkpoint.thinks else [call]
    session, emitted, _ = await served.run(*texts, tools=[WEATHER])
    (answer,) = [event for event in emitted if isinstance(event, events.AnswerDone)]
    assert calls_of(answer.tool_calls) == WEATHER_IN_ROME
    assert session.done.stop.thinking_tokens == (len(thinking) if checkpoint.thinks else 0)


async def test_history_with_thinking(served: Served) -> None:
    session, _, requests = await served.run(messages=EARLIER_THINKING, budget_tokens=5)
    prompt = served.decode(requests[0].prompt_ids)
    assert "ANSWER" in prompt
    if served.checkpoint.thinks:
        assert ("THOUGHT" in prompt) == shows_earlier_thinking(served.checkpoint)
        assert session.done.stop.thinking_tokens == 5
    assert session.done.answer.strip()


async def test_continuation(served: Served) -> None:
    if not served.checkpoint.thinks:
        pytest.skip("it does not think")
    first, _, before = await served.run(budget_tokens=9)
    second, _, after = await served.run(budget_tokens=5, continuation=first.done.continuation)
    assert first.done.stop.thinking_tokens == 9
    assert second.done.stop.thinking_tokens == 5
    thought = before[1].prompt_ids[: len(before[0].prompt_ids) + 9]
    resumed = after[0].prompt_ids
    assert resumed[-9:] == thought[-9:]
    assert after[1].prompt_ids[: len(resumed)] == resumed
    assert second.done.answer.strip()


async def test_think_end_that_the_continuation_completes(served: Served) -> None:
    model = served.model
    *begun, last = model.reasoning.think_end_ids or (0,)
    if not served.checkpoint.thinks or model.reasoning.think_end_text is None or not begun:
        pytest.skip("its think-end is a single token")
    thinking = [*served.encode("so it is 6 times 7"), *begun]
    answer = [*served.encode("42" + model.manifest.answer_end), min(model.reasoning.eos_ids)]
    first, _, _ = await served.run(thinking, answer, budget_tokens=len(thinking))
    second, _, _ = await served.run([last], answer, continuation=first.done.continuation)
    assert first.done.stop.cause is Cause.BUDGET
    assert (second.done.stop.cause, second.done.stop.thinking_tokens) == (Cause.NATURAL, 1)
    assert second.done.answer == "42"
