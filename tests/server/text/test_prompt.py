"""Prompts: thinking is opened once, and a block that the chat template closed is used as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from anytime_server.errors import InvalidRequest
from anytime_server.reasoning import Forcing, Manifest, is_within_thinking
from anytime_server.text.model import Model
from anytime_server.text.prompt import BegunTurn

from .test_model import RENDERED, TEMPLATE, USER, write_checkpoint


def test_model_whose_template_knows_no_thinking_does_not_think(tmp_path: Path) -> None:
    template = TEMPLATE.replace("<think>\n", "")
    model = Model.load(write_checkpoint(tmp_path / "instruct", template=template))
    assert model.family.name == "no-thinking"
    prompt = model.prompt(USER)
    assert prompt.ids == model.tokenizer.encode(RENDERED.removesuffix("<think>\n"))
    assert not prompt.is_open


def test_tags_that_are_no_tokens_are_text(tmp_path: Path) -> None:
    model = Model.load(write_checkpoint(tmp_path / "olmo", thinking=()))
    assert model.family.name == "think-tags"
    assert model.reasoning.think_end_id is None
    prompt = model.prompt(USER)
    assert model.tokenizer.decode(prompt.ids, keeps_special=True) == RENDERED
    assert prompt.num_opener_tokens == len(model.tokenizer.encode("<think>\n"))
    tail = model.thinking_tail(model.tokenizer.encode("7 - 3 = 4</think>"))
    assert tail.is_complete


SWITCHED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
)


def test_template_turns_thinking_off(tmp_path: Path) -> None:
    model = Model.load(write_checkpoint(tmp_path / "hybrid", template=SWITCHED))
    assert model.family.name == "qwen3"
    on, off = model.prompt(USER), model.prompt(USER, thinking=False)
    turn = RENDERED.removesuffix("<think>\n")
    assert model.tokenizer.decode(on.ids, keeps_special=True) == f"{turn}<think>"
    assert (on.is_open, on.num_opener_tokens) == (True, 1)
    assert model.tokenizer.decode(off.ids, keeps_special=True) == f"{turn}<think>\n\n</think>\n\n"
    assert not off.is_open
    # The form that follows without rendering again is the same.
    assert on.closed(model.reasoning.no_thinking_ids) == off.ids


def test_closed_block_of_the_template_is_not_doubled(tmp_path: Path) -> None:
    model = Model.load(write_checkpoint(tmp_path / "closed", template=SWITCHED))
    prompt = model.prompt(USER, variables={"enable_thinking": False})
    assert not prompt.is_open
    assert model.tokenizer.decode(prompt.ids, keeps_special=True).count("<think>") == 1


def test_template_that_opens_thinking_only_after_a_user_is_obeyed(tmp_path: Path) -> None:
    """DeepSeek-V3.1 lets the model go on after the result of a tool, without a new turn."""
    template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}"
        "{% if messages[-1].role == 'user' %}<|im_start|><think>{% endif %}"
    )
    model = Model.load(write_checkpoint(tmp_path / "v31", template=template))
    assert model.prompt(USER).is_open
    assert not model.prompt([*USER, {"role": "tool", "content": "4"}]).is_open


def test_forcing_does_not_change_the_familys_sampling(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "sampled")
    usual, closing = Model.load(folder), Model.load(folder, forcing=Forcing.CLOSE)
    assert usual.sampling.thinking.top_k == usual.family.sampling["top_k"]
    assert closing.sampling == usual.sampling
    assert closing.manifest.forcing is Forcing.CLOSE


TEXTS: dict[str, Any] = {
    "think_start": "<think>",
    "think_end": "</think>",
    "truncation": "...",
    "answer_lead_in": "A: ",
}


@pytest.mark.parametrize(
    ("turn", "begun"),
    [
        ({"content": "It is"}, BegunTurn(text="It is")),
        ({"content": "It is", "reasoning_content": "so"}, BegunTurn(thinking="so", text="It is")),
        ({"content": "", "reasoning_content": "so"}, BegunTurn(thinking="so")),
        ({"content": " <think>Let"}, BegunTurn(thinking="Let", is_thinking=True)),
        ({"content": "<think>so</think>It is"}, BegunTurn(thinking="so", text="It is")),
        ({"content": "the tag <think>"}, BegunTurn(text="the tag <think>")),
        ({"content": None}, BegunTurn()),
    ],
)
def test_beginning_of_a_turn(turn: dict[str, str], begun: BegunTurn) -> None:
    assert BegunTurn.of(turn, Manifest(**TEXTS).texts) == begun


def test_answer_is_opened_where_the_template_leaves_it_to_the_model(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "opened", template=SWITCHED)
    Manifest(**TEXTS, answer_start="<answer>").save(folder)
    model = Model.load(folder)
    prompt = model.begun_prompt(USER, begun=BegunTurn(text="It is"))
    assert (prompt.is_open, prompt.ends_within) == (False, "answer")
    text = model.tokenizer.decode(prompt.ids, keeps_special=True)
    assert text.endswith("<think>\n\n</think>\n\n<answer>It is")
    prompt = model.begun_prompt(USER, begun=BegunTurn(thinking="so", text="It is"))
    text = model.tokenizer.decode(prompt.ids, keeps_special=True)
    assert text.endswith("<think>so</think><answer>It is")


def test_raw_prompt_thinks_only_if_it_may(tmp_path: Path) -> None:
    model = Model.load(write_checkpoint(tmp_path / "raw"))
    text = "<think>Let"
    assert model.raw_prompt(text, may_think=True).is_open
    assert model.raw_prompt(model.tokenizer.encode(text), may_think=True).is_open
    assert model.raw_prompt(text).ends_within == "text"
    assert model.raw_prompt(f"{text}</think>", may_think=True).ends_within == "text"
    with pytest.raises(InvalidRequest, match="the prompt is empty"):
        model.raw_prompt("")


def test_text_is_within_thinking_after_the_last_start() -> None:
    texts = Manifest(**TEXTS).texts
    assert is_within_thinking("<think>a</think>b<think>c", texts)
    assert not is_within_thinking("<think>a</think>b", texts)
    assert not is_within_thinking("b", texts)
