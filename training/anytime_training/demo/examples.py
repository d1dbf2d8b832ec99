"""Training examples of the warm start: a conversation, thinking that may be truncated, and the answer.

The server's own function truncates the thinking, on token ids. Only tokens that a model would have sampled
are learned, neither the prompt nor inserted tokens.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from anytime_server.reasoning import Cause, ReasoningFormat, truncate_thinking

from anytime_training.demo.recipe import ExamplesConfig
from anytime_training.demo.written import Passage, Trace, TraceSource, WrittenProblem
from anytime_training.tasks.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Part(IntEnum):
    """The part of an example that a token belongs to."""

    CONTEXT = 0
    """The prompt, inserted tokens, or a slip: not learned."""
    THINKING = 1
    """Sampled thinking, including the think-end."""
    ANSWER = 2
    """The answer and the end of the turn."""
    CONCLUSION = 3
    """Sampled thinking that follows from what is before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One training sequence."""

    ids: tuple[int, ...]
    parts: tuple[Part, ...]
    """Part of each of `ids`."""


def build_example(
    *,
    prompt_ids: Sequence[int],
    thinking_ids: Sequence[int],
    thinking_parts: Sequence[Part],
    answer_ids: Sequence[int],
    reasoning: ReasoningFormat,
    truncate_at: int | None,
) -> Example:
    """Assemble an example.

    Args:
        prompt_ids: the conversation, with thinking open at its end.
        thinking_ids: the whole thinking, including the think-end.
        thinking_parts: part of each of `thinking_ids`.
        answer_ids: the answer with the end of the turn.
        truncate_at: thinking tokens to keep; None, or all of them, for thinking that ends by itself.
    """
    kept_ids = thinking_ids[:truncate_at]
    truncation = truncate_thinking(kept_ids, reasoning, cause=Cause.BUDGET)
    answer_prompt_ids = truncation.answer_prompt(prompt_ids)
    parts = [Part.CONTEXT] * len(prompt_ids)
    parts += thinking_parts[: len(kept_ids)]
    parts += [Part.CONTEXT] * len(truncation.inserted_ids)
    parts += [Part.ANSWER] * len(answer_ids)
    return Example(ids=(*answer_prompt_ids, *answer_ids), parts=tuple(parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class _EncodedTrace:
    """A trace with its think-end."""

    ids: list[int]
    parts: list[Part]
    """Part of each of `ids`."""
    answers: list[tuple[int, str]]
    """Answers, each with the number of tokens from which on it is given; the first has 0."""

    def answer_at(self, cut: int | None) -> str:
        """The answer after the first `cut` tokens, or after all."""
        return [answer for start, answer in self.answers if cut is None or start <= cut][-1]


class ExampleSource:
    """Draws examples in pools; a pool follows from the seed and its number alone."""

    def __init__(
        self,
        *,
        task: Task[Any],
        traces: TraceSource[Any],
        config: ExamplesConfig,
        tokenizer: PreTrainedTokenizerBase,
        reasoning: ReasoningFormat,
        seed: int,
    ) -> None:
        self._task = task
        self._traces = traces
        self._config = config
        self._tokenizer = tokenizer
        self._reasoning = reasoning
        self._seed = seed
        self._opener = str(tokenizer.decode(list(reasoning.think_start_ids)))

    def pool(self, number: int, *, num_batches: int, batch_examples: int) -> list[list[Example]]:
        """The batches of one pool: examples of similar length together, batches in random order."""
        rng = random.Random(f"{self._seed}:{number}")
        examples = self._sample(rng, num_batches * batch_examples)
        examples.sort(key=lambda example: len(example.ids))
        batches = [
            examples[first : first + batch_examples] for first in range(0, len(examples), batch_examples)
        ]
        rng.shuffle(batches)
        return batches

    def _sample(self, rng: random.Random, count: int) -> list[Example]:
        problems = [self._task.sample(rng) for _ in range(count)]
        conversations = [self._conversation(problem, rng) for problem in problems]
        prompts_ids = self._encode([self._opened(conversation) for conversation in conversations])
        traces = [self._traces.sample(problem, rng) for problem in problems]
        encoded = self._encode_traces(traces)
        cuts = [
            rng.randrange(len(thinking.ids)) if rng.random() < self._config.cut_share else None
            for thinking in encoded
        ]
        answers = [
            thinking.answer_at(cut) + str(self._tokenizer.eos_token)
            for thinking, cut in zip(encoded, cuts, strict=True)
        ]
        return [
            build_example(
                prompt_ids=prompt_ids,
                thinking_ids=thinking.ids,
                thinking_parts=thinking.parts,
                answer_ids=answer_ids,
                reasoning=self._reasoning,
                truncate_at=cut,
            )
            for prompt_ids, thinking, cut, answer_ids in zip(
                prompts_ids, encoded, cuts, self._encode(answers), strict=True
            )
        ]

    def _opened(self, conversation: str) -> str:
        """The conversation with thinking open at its end, as some chat templates leave it."""
        is_open = conversation.rstrip().endswith(self._opener)
        return conversation if is_open else conversation + self._opener

    def _conversation(self, problem: WrittenProblem, rng: random.Random) -> str:
        """The conversation's text, rendered by the chat template."""
        messages: list[dict[str, str]] = []
        if rng.random() < self._config.system_share:
            messages.append({"role": "system", "content": rng.choice(self._config.system_prompts)})
        if rng.random() < self._config.earlier_turn_share:
            earlier = self._task.sample(rng)
            messages.append({"role": "user", "content": earlier.prompt})
            messages.append({"role": "assistant", "content": earlier.answer})
        messages.append({"role": "user", "content": problem.prompt})
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert isinstance(text, str)
        return text

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return self._tokenizer(texts, add_special_tokens=False)["input_ids"]

    def _encode_traces(self, traces: list[Trace]) -> list[_EncodedTrace]:
        texts = [passage.text for trace in traces for passage in trace.passages]
        passages_ids = iter(self._encode(texts))
        end_ids = self._reasoning.think_end_ids
        encoded: list[_EncodedTrace] = []
        for trace in traces:
            ids: list[int] = []
            parts: list[Part] = []
            answers = [(0, trace.first_answer)]
            for passage in trace.passages:
                passage_ids = next(passages_ids)
                ids += passage_ids
                parts += [_part(passage)] * len(passage_ids)
                if passage.answer is not None:
                    answers.append((len(ids), passage.answer))
            encoded.append(
                _EncodedTrace(
                    ids=[*ids, *end_ids],
                    parts=[*parts, *[Part.THINKING] * len(end_ids)],
                    answers=answers,
                )
            )
        return encoded


def _part(passage: Passage) -> Part:
    if not passage.learned:
        return Part.CONTEXT
    return Part.CONCLUSION if passage.is_conclusion else Part.THINKING
