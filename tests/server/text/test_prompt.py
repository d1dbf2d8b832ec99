"""Prompts: thinking is opened once, and a block that the chat template closed is used as it is."""

from __future__ import annotations

from pathlib import Path

from anytime_server.reasoning import Forcing
from anytime_server.text.model import Model

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
