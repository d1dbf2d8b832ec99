"""The tokenizer: every text decodes to itself, digits are single tokens, the template opens the thinking."""

import random

import pytest
from anytime_training.demo.chain.task import ChainTask
from anytime_training.demo.tokenizer import (
    ASSISTANT,
    END_OF_TURN,
    THINK_START,
    build_tokenizer,
    served_tokenizer,
)
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast


def corpus() -> list[str]:
    rng, task = random.Random(0), ChainTask()
    return [task.sample(rng).prompt for _ in range(500)] + ["Answer: "] * 200


TOKENIZER = build_tokenizer(corpus(), vocab_size=400, window_tokens=1024)


@pytest.fixture(name="reloaded", scope="module")
def fixture_reloaded(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    folder = tmp_path_factory.mktemp("tokenizer")
    TOKENIZER.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_every_text_decodes_to_itself(text: str) -> None:
    ids = served_tokenizer(TOKENIZER).encode(text)
    assert TOKENIZER.decode(ids) == text


@given(st.text(alphabet="0123456789 +-x=,;.", max_size=40))
def test_a_digit_is_the_same_token_everywhere(text: str) -> None:
    tokens = TOKENIZER.convert_ids_to_tokens(served_tokenizer(TOKENIZER).encode(text))
    digits = [token for token in tokens if any(character.isdigit() for character in token)]
    assert digits == [character for character in text if character.isdigit()]


def test_frequent_words_are_single_tokens() -> None:
    for text in ("What ", "modulo ", "Answer: ", " - ", " x "):
        assert len(served_tokenizer(TOKENIZER).encode(text)) == 1, text


def test_template_opens_the_thinking_and_drops_earlier_thinking(reloaded: PreTrainedTokenizerFast) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1 + 1"},
        {"role": "assistant", "content": "<think>Quick: 2</think>\n\n2"},
        {"role": "user", "content": "2 + 2"},
    ]
    text = reloaded.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|system|>Be brief.<|end|><|user|>1 + 1<|end|><|assistant|>2<|end|>"
        "<|user|>2 + 2<|end|><|assistant|><think>"
    )
    served = served_tokenizer(reloaded)
    ids = reloaded.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ids == served.encode(str(text))
    assert ids[-2:] == [served.token_id(ASSISTANT), served.token_id(THINK_START)]


def test_template_refuses_other_roles(reloaded: PreTrainedTokenizerFast) -> None:
    with pytest.raises(Exception, match="role tool"):
        reloaded.apply_chat_template([{"role": "tool", "content": ""}], tokenize=False)


def test_saved_tokenizer_encodes_alike(reloaded: PreTrainedTokenizerFast) -> None:
    served = served_tokenizer(reloaded)
    assert served.eos_ids == {served.token_id(END_OF_TURN)}
    assert served.token_id("no such token") is None
    assert served.encode("What is 7 - 3?") == served_tokenizer(TOKENIZER).encode("What is 7 - 3?")


def test_building_is_deterministic() -> None:
    again = build_tokenizer(corpus(), vocab_size=400, window_tokens=1024)
    assert again.get_vocab() == TOKENIZER.get_vocab()
