"""An engine without a model: deterministic, seeded, and faulty on demand.

It plays a reasoning model in tests and demonstrations. A request that stops at the think-end is
thinking, any other request is an answer. The sampled tokens depend only on prompt and seed: the same request
gives the same tokens, and a longer budget extends a shorter one.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import random
import string
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from anytime_server.engine.base import (
    Delta,
    Engine,
    EngineLoad,
    EngineRequest,
    FinishReason,
    TopLogprobs,
)
from anytime_server.engine.constraint import Constraint, Enforced
from anytime_server.errors import EngineDead, InvalidRequest
from anytime_server.reasoning import ReasoningFormat, Tokenizer

Fault = Literal["none", "think_end_twice", "eos_in_thinking", "blank_answer", "reopened_thinking", "loop"]


class Script(BaseModel):
    """The behaviour of a scripted engine."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)

    seconds_per_token: float = Field(default=0.0, ge=0)
    """Seconds for each token."""
    tokens_per_step: int = Field(default=1, ge=1)
    """Tokens that are delivered together, as by speculative decoding."""
    first_token_s: float = Field(default=0.0, ge=0)
    """Seconds before the first token of a request."""
    thinking_tokens: Annotated[int, Field(ge=1)] | None = None
    """Length of the thinking with its think-end; by default 4 to 400, drawn for each prompt."""
    never_end: bool = False
    """Whether the thinking never ends."""
    answer: str = Field(default="42", min_length=1)
    """Text of every answer, but for answers of a JSON schema or of choices that it does not suit: these are
    short ones."""
    settle_after: int = Field(default=0, ge=0)
    """Thinking tokens after which `answer` is the answer; before that, the answer is the number of tokens."""
    fault: Fault = "none"
    """`think_end_twice`: the answer begins with another think-end. `eos_in_thinking`: the
    thinking ends with the end of the turn. `blank_answer`: answers are white space until that is banned.
    `reopened_thinking`: the answer begins with a start-of-thinking token. `loop`: the thinking repeats a
    phrase of ten tokens."""
    die_after_tokens: Annotated[int, Field(ge=1)] | None = None
    """Number of tokens, over all requests, after which the engine dies once."""


class ScriptedEngine(Engine):
    """Plays a `Script`."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        reasoning: ReasoningFormat,
        *,
        script: Script | None = None,
        window_tokens: int = 1024,
        max_num_seqs: int = 256,
    ) -> None:
        self._reasoning = reasoning
        self.script = script or Script()
        self._window_tokens = 0
        self._window_when_started = window_tokens
        self._max_num_seqs = max_num_seqs
        self._thinking_alphabet = tokenizer.encode("0123456789+-=;, ")
        self._top_alphabet = [tokenizer.encode(character)[0] for character in string.ascii_letters]
        self._encode = tokenizer.encode
        self._blank_ids = tokenizer.encode(" ")
        self._requests: set[str] = set()
        self._num_sampled_tokens = 0
        self._alive = False

    @property
    def window_tokens(self) -> int:
        return self._window_tokens

    @property
    def alive(self) -> bool:
        return self._alive

    async def enforced(self, constraint: Constraint) -> Enforced:
        """The part of a constraint that an engine with a model would hold tokens to."""
        if constraint.kind != "json_schema":
            return Enforced(constraint=constraint)
        from anytime_server.engine.structured.faults import find_fault, read_schema
        from anytime_server.engine.structured.relax import in_present_form, relax

        schema = read_schema(constraint.text)
        fault = schema if isinstance(schema, str) else find_fault(in_present_form(schema))
        if isinstance(schema, str) or fault is not None:
            raise InvalidRequest(fault or "")
        relaxed = relax(schema)
        return Enforced(
            constraint=Constraint("json_schema", json.dumps(relaxed.schema)),
            left_out=tuple(relaxed.left_out),
            unknown=tuple(relaxed.unknown),
            is_exact=relaxed.is_exact,
        )

    async def violation(self, json_schema: str, text: str) -> str | None:
        from anytime_server.engine.structured.violations import violation

        return violation(json_schema, text)

    async def start(self) -> None:
        self._window_tokens = self._window_when_started
        self._alive = True

    async def stop(self) -> None:
        self._alive = False

    def load(self) -> EngineLoad:
        return EngineLoad(num_requests=len(self._requests), max_num_seqs=self._max_num_seqs)

    async def update_weights(self, weights: Path, *, sha256: str, timeout_s: float) -> None:
        """Do nothing: there are no weights."""
        self._require_alive()

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Delta, None]:
        self._require_alive()
        sampling = request.sampling
        assert request.prompt_ids
        assert 1 <= sampling.max_tokens <= self._window_tokens - len(request.prompt_ids)
        self._requests.add(request.id)
        try:
            await asyncio.sleep(self.script.first_token_s)
            draw = random.Random(repr((request.prompt_ids, sampling.seed or 0)))
            allowed = (i for i in self._tokens(request, draw) if i not in sampling.banned_ids)
            step: list[tuple[int, float, TopLogprobs]] = []
            for position, token_id in enumerate(allowed, start=1):
                await asyncio.sleep(self.script.seconds_per_token)
                self._require_alive()
                self._sampled_one()
                finish_reason: FinishReason | None = None
                if token_id in sampling.stop_ids:
                    finish_reason = "stop"
                elif position == sampling.max_tokens:
                    finish_reason = "length"
                logprob = -draw.random()
                step.append((token_id, logprob, self._likeliest(token_id, logprob, sampling.top_logprobs)))
                if finish_reason is None and len(step) < self.script.tokens_per_step:
                    continue
                yield Delta(
                    token_ids=tuple(token_id for token_id, _, _ in step),
                    logprobs=tuple(logprob for _, logprob, _ in step),
                    cached_tokens=0,
                    finish_reason=finish_reason,
                    top_logprobs=tuple(top for _, _, top in step) if sampling.top_logprobs else (),
                )
                step.clear()
                if finish_reason is not None:
                    return
        finally:
            self._requests.discard(request.id)

    def _likeliest(self, token_id: int, logprob: float, num: int) -> TopLogprobs:
        """The sampled token, of a probability over 1/3, and others that halve the remaining probability."""
        others = [i for i in self._top_alphabet if i != token_id]
        left = math.log(max(1 - math.exp(logprob), 1e-9))
        ranked = [(i, left - rank * math.log(2)) for rank, i in enumerate(others, start=1)]
        return ((token_id, logprob), *ranked)[:num]

    def _tokens(self, request: EngineRequest, draw: random.Random) -> Iterator[int]:
        """An endless sequence, which the caller ends at a stop token or the length."""
        reasoning, script = self._reasoning, self.script
        if self._is_thinking(request):
            num_tokens = script.thinking_tokens or draw.randint(4, 400)
            end_ids = reasoning.think_end_ids
            if script.fault == "eos_in_thinking":
                end_ids = (min(reasoning.eos_ids),)
            phrase = itertools.cycle(self._thinking_alphabet[:10])
            while script.never_end or num_tokens > 1:
                yield next(phrase) if script.fault == "loop" else draw.choice(self._thinking_alphabet)
                num_tokens -= 1
            yield from end_ids
            yield min(reasoning.eos_ids)
            return
        if script.fault == "think_end_twice":
            yield from reasoning.think_end_ids
        if script.fault == "reopened_thinking":
            yield from reasoning.think_start_ids
        if script.fault == "blank_answer" and not request.sampling.banned_ids.issuperset(self._blank_ids):
            yield from self._blank_ids
        else:
            yield from self._encode(_held_to(request.sampling.constraint, self._answer(request.prompt_ids)))
        while True:
            yield min(reasoning.eos_ids)

    def _answer(self, prompt_ids: list[int]) -> str:
        reasoning, script = self._reasoning, self.script
        if script.settle_after == 0:
            return script.answer
        opened = _last(prompt_ids, reasoning.think_start_ids) + len(reasoning.think_start_ids)
        thinking_ids = tuple(prompt_ids[opened : _last(prompt_ids, reasoning.think_end_ids)])
        truncation_ids = reasoning.truncation_ids
        was_cut_short = truncation_ids and thinking_ids[-len(truncation_ids) :] == truncation_ids
        num_tokens = len(thinking_ids) - (len(truncation_ids) if was_cut_short else 0)
        return script.answer if num_tokens >= script.settle_after else str(num_tokens)

    def _is_thinking(self, request: EngineRequest) -> bool:
        reasoning, prompt_ids = self._reasoning, request.prompt_ids
        end_id = reasoning.think_end_id
        if not reasoning.thinks or (end_id is not None and end_id not in reasoning.eos_ids):
            return end_id in request.sampling.stop_ids
        return _last(prompt_ids, reasoning.think_start_ids) > _last(prompt_ids, reasoning.think_end_ids)

    def _sampled_one(self) -> None:
        self._num_sampled_tokens += 1
        if self._num_sampled_tokens == self.script.die_after_tokens:
            self._alive = False
            self._require_alive()

    def _require_alive(self) -> None:
        if not self._alive:
            raise EngineDead("the engine is not running")


def _held_to(constraint: Constraint | None, answer: str) -> str:
    """The scripted answer, or a short one of the constraint where that is not, as far as one is found."""
    if constraint is None or constraint.kind not in ("json_schema", "choice"):
        return answer
    if constraint.kind == "choice":
        choices = json.loads(constraint.text)
        return answer if answer in choices else choices[0]
    from anytime_server.engine.structured.example import example_of
    from anytime_server.engine.structured.violations import violation

    return answer if violation(constraint.text, answer) is None else example_of(constraint.text) or answer


def _last(ids: list[int], sequence: tuple[int, ...]) -> int:
    """Position of the last occurrence of a sequence; -1 if there is none."""
    starts = range(len(ids) - len(sequence), -1, -1)
    return next((at for at in starts if tuple(ids[at : at + len(sequence)]) == sequence), -1)
