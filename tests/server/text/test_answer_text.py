"""What of an answer's tokens is shown, at every way of delivering them."""

from __future__ import annotations

from typing import Any

import pytest
from anytime_server.engine import Delta
from anytime_server.text.answer_text import AnswerText
from anytime_server.text.model import Model


def shown(model: Model, pieces: list[list[int]], **request: Any) -> tuple[AnswerText, list[str]]:
    text = AnswerText(model, **request)
    found: list[str] = []
    for number, ids in enumerate(pieces):
        is_last = number == len(pieces) - 1
        found.append(
            text.push(
                Delta(
                    token_ids=tuple(ids),
                    logprobs=(-0.5,) * len(ids),
                    cached_tokens=0,
                    finish_reason="length" if is_last else None,
                )
            )
        )
        if text.stop_sequence is not None:
            break
    assert "".join(found) == text.text
    return text, found


def pieces(ids: list[int], size: int) -> list[list[int]]:
    return [ids[i : i + size] for i in range(0, len(ids), size)]


@pytest.fixture
def ids(tiny_model: Model) -> Any:
    reasoning = tiny_model.reasoning
    marks = {"<": reasoning.think_start_id, ">": reasoning.think_end_id, "|": min(reasoning.eos_ids)}
    return lambda text: [marks[c] if c in marks else tiny_model.tokenizer.encode(c)[0] for c in text]


@pytest.mark.parametrize("size", [1, 2, 3, 99])
@pytest.mark.parametrize(
    ("sampled", "text", "leaked"),
    [
        ("12|", "12", 0),
        (">12", "12", 1),
        ("1>2", "12", 1),
        ("<ab>12", "12", 4),
        ("1<ab>2<c", "12", 6),
        ("<ab", "", 3),
        ("  12 ", "  12 ", 0),
    ],
)
def test_thinking_is_left_out_and_counted(
    tiny_model: Model, ids: Any, size: int, sampled: str, text: str, leaked: int
) -> None:
    found, _ = shown(tiny_model, pieces(ids(sampled), size))
    assert (found.text, found.num_leaked_tokens) == (text, leaked)


@pytest.mark.parametrize("size", [1, 2, 3, 99])
@pytest.mark.parametrize(
    ("sampled", "stop", "text", "sequence"),
    [
        ("one two", ("tw",), "one ", "tw"),
        ("one two", ("three", "two"), "one ", "two"),
        ("one two", ("wo", "two"), "one ", "two"),  # the one that begins first
        ("one two", ("twofold",), "one two", None),
        ("aab", ("ab",), "a", "ab"),
        ("\n\none\n", ("\n",), "\n\none", "\n"),  # white space at the beginning is no answer yet
        ("one", ("one",), "", "one"),
    ],
)
def test_an_answer_ends_before_a_stop_string(
    tiny_model: Model,
    ids: Any,
    size: int,
    sampled: str,
    stop: tuple[str, ...],
    text: str,
    sequence: str | None,
) -> None:
    found, _ = shown(tiny_model, pieces(ids(sampled), size), stop=stop)
    assert (found.text, found.stop_sequence) == (text, sequence)
    assert found.finish_reason == ("length" if sequence is None else "stop")


def test_only_what_may_be_a_stop_string_is_held_back(tiny_model: Model, ids: Any) -> None:
    _, found = shown(tiny_model, pieces(ids("abcabx"), 1), stop=("abc!",))
    assert found == ["", "", "", "abc", "", "abx"]


def test_tokens_are_reported_with_their_text(tiny_model: Model, ids: Any) -> None:
    text, _ = shown(tiny_model, pieces(ids("<a>12|"), 2), reports_tokens=True)
    assert [(token.text, token.logprob) for token in text.take_tokens()] == [("1", -0.5), ("2", -0.5)]
    assert text.take_tokens() == ()
