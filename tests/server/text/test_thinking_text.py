"""Thinking as it is shown: without a repeated think-start, special tokens and the think-end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from anytime_server.reasoning import Manifest
from anytime_server.text.model import Model
from anytime_server.text.thinking_text import ThinkingText


@pytest.fixture(scope="module")
def text_end_model(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Its think-end has a special token and ordinary text; its think-start is ordinary text."""
    path = tmp_path_factory.mktemp("manifest") / "anytime.json"
    Manifest(think_start="[thought]\n", think_end="<|user|>done", truncation="", answer_lead_in="").save(
        path.parent
    )
    template = "{{ messages[0].content }} {# [thought] <|user|>done #}"
    return Model.load(tiny_checkpoint, manifest=path, chat_template=template)


def pieces_of(model: Model, ids: Sequence[int], size: int) -> list[str]:
    shown = ThinkingText(model, stop_ids=frozenset({model.tokenizer.token_id("</think>") or -1}))
    pieces = [shown.push(ids[begin : begin + size]) for begin in range(0, len(ids), size)]
    return [*pieces, shown.flush()]


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize(
    ("sampled", "shown"),
    [
        ("<think>\nSo</think>", "\nSo"),
        ("\n<think><think>So", "So"),
        ("<think>", ""),
        ("So <|user|><pad>it is", "So it is"),
        ("<|user|>So", "So"),
        ("\n\nSo", "\n\nSo"),
        ("  ", "  "),
        ("<thin air</think>", "<thin air"),
    ],
)
def test_repeated_think_start_and_special_tokens_are_left_out(
    tiny_model: Model, sampled: str, shown: str, size: int
) -> None:
    assert "".join(pieces_of(tiny_model, tiny_model.tokenizer.encode(sampled), size)) == shown


def test_think_start_in_the_middle_is_shown_if_it_is_text(text_end_model: Model) -> None:
    ids = text_end_model.tokenizer.encode("So [thought] it is")
    assert "".join(pieces_of(text_end_model, ids, 1)) == "So [thought] it is"


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    ("sampled", "shown"),
    [
        ("[thought]\nSo<|user|>done", "\nSo"),
        ("[thought][thought]So", "So"),
        ("[thousands]", "[thousands]"),
        ("So<pad> it<|assistant|> is<|user|>done", "So it is"),
        # Of the think-end, but no think-end.
        ("So<|user|>do it", "So<|user|>do it"),
        ("[tho", "[tho"),
    ],
)
def test_the_same_where_the_think_end_is_text(
    text_end_model: Model, sampled: str, shown: str, size: int
) -> None:
    assert text_end_model.reasoning.think_end_text is not None
    assert "".join(pieces_of(text_end_model, text_end_model.tokenizer.encode(sampled), size)) == shown


def test_text_streams_after_the_beginning(tiny_model: Model) -> None:
    assert pieces_of(tiny_model, tiny_model.tokenizer.encode("<think>ab"), 1) == ["", "a", "b", ""]
