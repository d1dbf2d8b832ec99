"""Training examples of the warm start: a conversation, thinking, and answers after its truncations.

An example is a tree, as a rollout is: answers branch off the thinking where it is truncated. The server's own
function truncates it, on token ids. Only tokens that a model would have sampled are learned, neither the
prompt nor inserted tokens. A token's weight in the loss is in the place of its advantage.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anytime_server.reasoning import Cause, ReasoningFormat, truncate_thinking

from anytime_training.demo.recipe import ExamplesConfig
from anytime_training.demo.written import Trace, TraceSource, WrittenProblem
from anytime_training.tasks.base import Task
from anytime_training.tree import Branch, Segment, Tree

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def build_example(
    *,
    prompt_ids: Sequence[int],
    thinking_ids: Sequence[int],
    thinking_weights: Sequence[float],
    answers: Sequence[tuple[int, Sequence[int]]],
    answer_weight: float,
    reasoning: ReasoningFormat,
) -> Tree:
    """Assemble an example.

    Args:
        prompt_ids: the conversation, with thinking open at its end.
        thinking_ids: the whole thinking, including the think-end.
        thinking_weights: weight of each of `thinking_ids`; tokens of weight 0 are not learned.
        answers: for each answer the thinking tokens that it follows, all of them for thinking that ends by
            itself, and its ids with the end of the turn.
        answer_weight: weight of each token of an answer.
    """
    branches: list[Branch] = []
    for num_thinking, answer_ids in answers:
        truncation = truncate_thinking(thinking_ids[:num_thinking], reasoning, cause=Cause.BUDGET)
        branches.append(
            Branch(
                segment=Segment.after(
                    truncation.inserted_ids, answer_ids, advantages=[answer_weight] * len(answer_ids)
                ),
                num_visible=len(prompt_ids) + len(truncation.thinking_ids),
            )
        )
    trunk = Segment.after(
        prompt_ids,
        thinking_ids,
        advantages=thinking_weights,
        learned=[weight > 0 for weight in thinking_weights],
    )
    return Tree(trunk=trunk, branches=tuple(branches))


@dataclass(frozen=True, slots=True, kw_only=True)
class _EncodedTrace:
    """A trace with its think-end."""

    ids: list[int]
    weights: list[float]
    """Weight of each of `ids` in the loss."""
    answers: list[tuple[int, str]]
    """Answers, each with the number of tokens from which on it is given; the first has 0."""

    def answer_at(self, num_thinking: int) -> str:
        """The answer after the first `num_thinking` tokens."""
        return [answer for start, answer in self.answers if start <= num_thinking][-1]


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

    def pool(self, number: int, *, num_batches: int, batch_examples: int) -> list[list[Tree]]:
        """The batches of one pool: examples of similar length together, batches in random order."""
        rng = random.Random(f"{self._seed}:{number}")
        examples = self._sample(rng, num_batches * batch_examples)
        examples.sort(key=len)
        batches = [
            examples[first : first + batch_examples] for first in range(0, len(examples), batch_examples)
        ]
        rng.shuffle(batches)
        return batches

    def _sample(self, rng: random.Random, count: int) -> list[Tree]:
        problems = [self._task.sample(rng) for _ in range(count)]
        conversations = [self._conversation(problem, rng) for problem in problems]
        prompts_ids = self._encode([self._opened(conversation) for conversation in conversations])
        encoded = self._encode_traces([self._traces.sample(problem, rng) for problem in problems])
        lengths = [self._answer_lengths(len(thinking.ids), rng) for thinking in encoded]
        eos = str(self._tokenizer.eos_token)
        answers_ids = iter(
            self._encode(
                [
                    thinking.answer_at(length) + eos
                    for thinking, own in zip(encoded, lengths, strict=True)
                    for length in own
                ]
            )
        )
        return [
            build_example(
                prompt_ids=prompt_ids,
                thinking_ids=thinking.ids,
                thinking_weights=thinking.weights,
                answers=[(length, next(answers_ids)) for length in own],
                answer_weight=self._config.answer_weight,
                reasoning=self._reasoning,
            )
            for prompt_ids, thinking, own in zip(prompts_ids, encoded, lengths, strict=True)
        ]

    def _answer_lengths(self, num_thinking: int, rng: random.Random) -> list[int]:
        """Thinking tokens before each answer: all of them, and random numbers of them."""
        return [num_thinking, *(rng.randrange(num_thinking) for _ in range(self._config.truncations))]

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
            weights: list[float] = []
            answers = [(0, trace.first_answer)]
            for passage in trace.passages:
                passage_ids = next(passages_ids)
                ids += passage_ids
                weight = self._config.answer_weight if passage.is_conclusion else float(passage.learned)
                weights += [weight] * len(passage_ids)
                if passage.answer is not None:
                    answers.append((len(ids), passage.answer))
            encoded.append(
                _EncodedTrace(
                    ids=[*ids, *end_ids], weights=[*weights, *[1.0] * len(end_ids)], answers=answers
                )
            )
        return encoded
