"""Training examples, token by token: which tokens are learned, and that the server's function truncates."""

import random
import re
from itertools import pairwise
from typing import Any

import pytest
from anytime_server.reasoning import Cause, ReasoningFormat, ReasoningTexts, truncate_thinking
from anytime_training.demo.chain.task import ChainProblem, ChainTask
from anytime_training.demo.chain.traces import TraceMix
from anytime_training.demo.examples import ExampleSource, build_example
from anytime_training.demo.recipe import ExamplesConfig
from anytime_training.demo.tokenizer import build_tokenizer, served_tokenizer
from anytime_training.demo.written import Passage, Trace, TraceSource
from anytime_training.tree import Tree, flatten
from transformers import PreTrainedTokenizerFast

THINK_START, THINK_END, END = 1, 2, 3
REASONING = ReasoningFormat(
    think_start_ids=(THINK_START,),
    think_end_ids=(THINK_END,),
    truncation_ids=(70, 71),
    answer_lead_in_ids=(80,),
    eos_ids=frozenset({END}),
)
PROMPT_IDS = (10, 11, THINK_START)
THINKING_IDS = (20, 21, 22, THINK_END)
ANSWER_IDS = (30, END)


def build(*lengths: int, weights: tuple[float, ...] = (1.0,) * 4) -> Tree:
    return build_example(
        prompt_ids=PROMPT_IDS,
        thinking_ids=THINKING_IDS,
        thinking_weights=weights,
        answers=[(length, ANSWER_IDS) for length in lengths],
        answer_weight=3.0,
        reasoning=REASONING,
    )


@pytest.mark.parametrize(
    ("num_thinking", "ids", "num_visible"),
    [
        (4, (80, 30, 3), 7),
        (2, (70, 71, 2, 80, 30, 3), 5),
        (0, (2, 80, 30, 3), 3),
    ],
)
def test_tokens_of_an_answer_and_what_is_learned_of_them(
    num_thinking: int, ids: tuple[int, ...], num_visible: int
) -> None:
    (branch,) = build(num_thinking).branches
    assert tuple(branch.segment.ids) == ids
    assert branch.num_visible == num_visible
    num_inserted = len(ids) - len(ANSWER_IDS)
    assert branch.segment.learned == [False] * num_inserted + [True, True]
    assert branch.segment.advantages == [0.0] * num_inserted + [3.0, 3.0]


def test_thinking_is_learned_once_whatever_the_number_of_answers() -> None:
    trunk = build(4, 2, 0).trunk
    assert trunk == build(4).trunk
    assert tuple(trunk.ids) == PROMPT_IDS + THINKING_IDS
    assert trunk.learned == [False] * 3 + [True] * 4
    assert trunk.advantages == [0.0] * 3 + [1.0] * 4


def test_a_slip_is_read_but_not_learned() -> None:
    trunk = build(4, weights=(1.0, 0.0, 2.0, 1.0)).trunk
    assert trunk.learned == [False] * 3 + [True, False, True, True]
    assert trunk.advantages == [0.0] * 3 + [1.0, 0.0, 2.0, 1.0]


@pytest.mark.parametrize("num_thinking", range(5))
def test_tokens_before_the_answer_are_the_servers(num_thinking: int) -> None:
    truncation = truncate_thinking(THINKING_IDS[:num_thinking], REASONING, cause=Cause.BUDGET)
    flat = flatten(build(num_thinking))[1]
    assert list(flat.trunk.ids[: -len(ANSWER_IDS)]) == truncation.answer_prompt(PROMPT_IDS)


@pytest.fixture(name="tokenizer", scope="module")
def fixture_tokenizer() -> PreTrainedTokenizerFast:
    rng, task = random.Random(0), ChainTask()
    corpus = [task.sample(rng).prompt for _ in range(300)] + ["Answer: ", "..."] * 20
    return build_tokenizer(corpus, vocab_size=400, window_tokens=1024)


def source(
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int = 0,
    truncations: int = 1,
    traces: TraceSource[Any] | None = None,
) -> ExampleSource:
    texts = ReasoningTexts(
        think_start="<think>", think_end="</think>", truncation="...", answer_lead_in="Answer: "
    )
    return ExampleSource(
        task=ChainTask(),
        traces=traces or TraceMix(),
        config=ExamplesConfig(truncations=truncations, system_share=0.5, earlier_turn_share=0.5),
        tokenizer=tokenizer,
        reasoning=ReasoningFormat.from_texts(texts, served_tokenizer(tokenizer)),
        seed=seed,
    )


def test_a_pool_depends_on_seed_and_number_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    size = {"num_batches": 2, "batch_examples": 8}
    first = source(tokenizer)
    first.pool(0, **size)
    assert first.pool(1, **size) == source(tokenizer).pool(1, **size)
    assert first.pool(1, **size) != first.pool(2, **size)
    assert first.pool(1, **size) != source(tokenizer, seed=1).pool(1, **size)


def test_batches_hold_examples_of_like_length(tokenizer: PreTrainedTokenizerFast) -> None:
    batches = source(tokenizer).pool(0, num_batches=4, batch_examples=16)
    spans = sorted((min(map(len, batch)), max(map(len, batch))) for batch in batches)
    assert [len(batch) for batch in batches] == [16] * 4
    assert all(longest <= shortest for (_, longest), (shortest, _) in pairwise(spans))


def test_examples_read_as_they_are_served(tokenizer: PreTrainedTokenizerFast) -> None:
    """Each decoded example: thinking opened, closed once, the lead-in, one digit, the end of the turn."""
    (batch,) = source(tokenizer, truncations=2).pool(0, num_batches=1, batch_examples=100)
    whole = r"(Quick: [\d, ]*\d(\. Check: [-\dx+=; ]*\d)?|Steps: [-\dx+=; ]*\d)"
    for example in batch:
        trunk, *flat = flatten(example)
        prompt, _, thinking = str(tokenizer.decode(list(trunk.trunk.ids))).rpartition("<|assistant|><think>")
        assert prompt.startswith(("<|user|>", "<|system|>"))
        assert re.fullmatch(rf"{whole}</think>", thinking)
        assert len(flat) == 3
        for number, answered in enumerate(flat):
            text = str(tokenizer.decode(list(answered.trunk.ids)))
            before, _, rest = text.rpartition("<|assistant|><think>")
            assert before == prompt
            kept, _, answer = rest.partition("</think>")
            assert re.fullmatch(r"Answer: \d<\|end\|>", answer)
            is_whole = re.fullmatch(whole, kept) is not None
            assert is_whole == (number == 0)
            assert is_whole or kept == "" or kept.endswith("...")
            assert is_whole or thinking.startswith(kept.removesuffix("..."))


def test_answers_are_those_known_where_thinking_is_truncated(tokenizer: PreTrainedTokenizerFast) -> None:
    class Guesses:
        """Traces whose answer is the number of the latest passage."""

        def sample(self, problem: ChainProblem, rng: random.Random) -> Trace:
            passages = tuple(Passage(text=f"{number};", answer=str(number)) for number in range(1, 10))
            return Trace(passages=passages, first_answer="0")

    (batch,) = source(tokenizer, truncations=3, traces=Guesses()).pool(0, num_batches=1, batch_examples=100)
    for example in batch:
        for answered in flatten(example)[1:]:
            text = str(tokenizer.decode(list(answered.trunk.ids)))
            thinking, _, answer = text.rpartition("<think>")[2].partition("</think>")
            assert answer == f"Answer: {thinking.count(';')}<|end|>"


def test_conclusions_weigh_as_much_as_answers(tokenizer: PreTrainedTokenizerFast) -> None:
    class Concluding:
        """Traces with a conclusion between two other passages."""

        def sample(self, problem: ChainProblem, rng: random.Random) -> Trace:
            texts = (
                Passage(text="1"),
                Passage(text="2", is_conclusion=True),
                Passage(text="3", learned=False),
            )
            return Trace(passages=texts, first_answer="0")

    ((example,),) = source(tokenizer, traces=Concluding()).pool(0, num_batches=1, batch_examples=1)
    assert example.trunk.advantages[-4:] == [1.0, 4.0, 0.0, 1.0]
    assert {*example.branches[0].segment.advantages} == {0.0, 4.0}
