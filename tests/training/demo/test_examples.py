"""Training examples, token by token: which tokens are learned, and that the server's function truncates."""

import random
import re
from itertools import pairwise

import pytest
from anytime_server.reasoning import Cause, ReasoningFormat, ReasoningTexts, truncate_thinking
from anytime_training.demo.chain.task import ChainTask
from anytime_training.demo.chain.traces import TraceMix
from anytime_training.demo.examples import Example, ExampleSource, Part, build_example
from anytime_training.demo.recipe import ExamplesConfig
from anytime_training.demo.tokenizer import build_tokenizer, served_tokenizer
from anytime_training.demo.warmstart import pad_batch
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


def build(truncate_at: int | None, thinking_parts: tuple[Part, ...] = (Part.THINKING,) * 4) -> Example:
    return build_example(
        prompt_ids=PROMPT_IDS,
        thinking_ids=THINKING_IDS,
        thinking_parts=thinking_parts,
        answer_ids=ANSWER_IDS,
        reasoning=REASONING,
        truncate_at=truncate_at,
    )


@pytest.mark.parametrize(
    ("truncate_at", "ids", "parts"),
    [
        (None, (10, 11, 1, 20, 21, 22, 2, 80, 30, 3), "CCCTTTTCAA"),
        (4, (10, 11, 1, 20, 21, 22, 2, 80, 30, 3), "CCCTTTTCAA"),
        (2, (10, 11, 1, 20, 21, 70, 71, 2, 80, 30, 3), "CCCTTCCCCAA"),
        (0, (10, 11, 1, 2, 80, 30, 3), "CCCCCAA"),
    ],
)
def test_tokens_and_what_is_learned_of_them(
    truncate_at: int | None, ids: tuple[int, ...], parts: str
) -> None:
    example = build(truncate_at)
    assert example.ids == ids
    assert "".join(part.name[0] for part in example.parts) == parts


def test_a_slip_is_read_but_not_learned() -> None:
    example = build(None, (Part.THINKING, Part.CONTEXT, Part.THINKING, Part.THINKING))
    assert "".join(part.name[0] for part in example.parts) == "CCCTCTTCAA"


@pytest.mark.parametrize("truncate_at", range(5))
def test_tokens_before_the_answer_are_the_servers(truncate_at: int) -> None:
    truncation = truncate_thinking(THINKING_IDS[:truncate_at], REASONING, cause=Cause.BUDGET)
    assert list(build(truncate_at).ids[: -len(ANSWER_IDS)]) == truncation.answer_prompt(PROMPT_IDS)


def test_batches_are_padded_with_context() -> None:
    ids_ET, parts_ET = pad_batch([build(None), build(0)], pad_id=9)
    assert ids_ET.tolist()[1] == [10, 11, 1, 2, 80, 30, 3, 9, 9, 9]
    assert parts_ET.tolist()[1] == [0, 0, 0, 0, 0, 2, 2, 0, 0, 0]
    assert ids_ET.tolist()[0] == list(build(None).ids)


@pytest.fixture(name="tokenizer", scope="module")
def fixture_tokenizer() -> PreTrainedTokenizerFast:
    rng, task = random.Random(0), ChainTask()
    corpus = [task.sample(rng).prompt for _ in range(300)] + ["Answer: ", "..."] * 20
    return build_tokenizer(corpus, vocab_size=400, window_tokens=1024)


def source(tokenizer: PreTrainedTokenizerFast, *, seed: int = 0, cut_share: float = 0.5) -> ExampleSource:
    texts = ReasoningTexts(
        think_start="<think>", think_end="</think>", truncation="...", answer_lead_in="Answer: "
    )
    return ExampleSource(
        task=ChainTask(),
        traces=TraceMix(),
        config=ExamplesConfig(cut_share=cut_share, system_share=0.5, earlier_turn_share=0.5),
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
    spans = sorted(
        (min(len(example.ids) for example in batch), max(len(example.ids) for example in batch))
        for batch in batches
    )
    assert [len(batch) for batch in batches] == [16] * 4
    assert all(longest <= shortest for (_, longest), (shortest, _) in pairwise(spans))


def test_examples_read_as_they_are_served(tokenizer: PreTrainedTokenizerFast) -> None:
    """Each decoded example: thinking opened, closed once, the lead-in, one digit, the end of the turn."""
    (batch,) = source(tokenizer).pool(0, num_batches=1, batch_examples=200)
    whole = r"(Quick: [\d, ]*\d(\. Check: [-\dx+=; ]*\d)?|Steps: [-\dx+=; ]*\d)"
    num_cut = 0
    for example in batch:
        text = tokenizer.decode(list(example.ids))
        assert isinstance(text, str)
        before, _, rest = text.rpartition("<|assistant|><think>")
        assert before.startswith(("<|user|>", "<|system|>"))
        thinking, _, answer = rest.partition("</think>")
        assert re.fullmatch(r"Answer: \d<\|end\|>", answer)
        is_cut = thinking == "" or thinking.endswith("...")
        assert is_cut or re.fullmatch(whole, thinking), thinking
        num_cut += is_cut
        pairs = zip(example.ids, example.parts, strict=True)
        answer_ids = [token for token, part in pairs if part == Part.ANSWER]
        assert tokenizer.decode(answer_ids) == answer.removeprefix("Answer: ")
    assert 70 < num_cut < 130


def test_nothing_is_truncated_with_a_share_of_0(tokenizer: PreTrainedTokenizerFast) -> None:
    (batch,) = source(tokenizer, cut_share=0).pool(0, num_batches=1, batch_examples=50)
    assert not any("..." in str(tokenizer.decode(list(example.ids))) for example in batch)
