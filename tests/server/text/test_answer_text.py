"""The text of an answer, for deltas of every size: thinking removed, stop strings, tokens reported."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from anytime_server.engine import Delta
from anytime_server.text.answer_text import AnswerText
from anytime_server.text.json_calls import JsonCalls
from anytime_server.text.model import Model


def push_all(model: Model, pieces: list[list[int]], **request: Any) -> tuple[AnswerText, list[str]]:
    text = AnswerText(model, **request)
    deltas: list[str] = []
    for number, ids in enumerate(pieces):
        is_last = number == len(pieces) - 1
        deltas.append(
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
    assert "".join(deltas) == text.text
    return text, deltas


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
def test_thinking_in_an_answer_is_removed_and_counted(
    tiny_model: Model, ids: Any, size: int, sampled: str, text: str, leaked: int
) -> None:
    answer, _ = push_all(tiny_model, pieces(ids(sampled), size))
    assert (answer.text, answer.num_leaked_tokens) == (text, leaked)


@pytest.mark.parametrize("size", [1, 2, 3, 99])
@pytest.mark.parametrize(
    ("sampled", "stop", "text", "sequence"),
    [
        ("one two", ("tw",), "one ", "tw"),
        ("one two", ("three", "two"), "one ", "two"),
        ("one two", ("wo", "two"), "one ", "two"),  # the stop string that begins first
        ("one two", ("twofold",), "one two", None),
        ("aab", ("ab",), "a", "ab"),
        ("\n\none\n", ("\n",), "\n\none", "\n"),  # a stop string before the answer has text is ignored
        ("one", ("one",), "", "one"),
    ],
)
def test_answer_ends_before_a_stop_string(
    tiny_model: Model,
    ids: Any,
    size: int,
    sampled: str,
    stop: tuple[str, ...],
    text: str,
    sequence: str | None,
) -> None:
    answer, _ = push_all(tiny_model, pieces(ids(sampled), size), stop=stop)
    assert (answer.text, answer.stop_sequence) == (text, sequence)
    assert answer.finish_reason == ("length" if sequence is None else "stop")


def test_only_a_possible_stop_string_is_held_back(tiny_model: Model, ids: Any) -> None:
    _, deltas = push_all(tiny_model, pieces(ids("abcabx"), 1), stop=("abc!",))
    assert deltas == ["", "", "", "abc", "", "abx"]


def test_tokens_are_reported_with_their_text(tiny_model: Model, ids: Any) -> None:
    text, _ = push_all(tiny_model, pieces(ids("<a>12|"), 2), reports_tokens=True)
    assert [(token.text, token.logprob) for token in text.take_tokens()] == [("1", -0.5), ("2", -0.5)]
    assert text.take_tokens() == ()


def test_text_that_closes_an_answer_does_not_end_a_constrained_one(tiny_model: Model) -> None:
    model = copy.copy(tiny_model)
    model.manifest = tiny_model.manifest.model_copy(update={"answer_end": "]"})
    text = '{"a":"]b"}'
    delta = Delta(
        token_ids=tuple(model.tokenizer.encode(text)), logprobs=(), cached_tokens=0, finish_reason="length"
    )
    answer = AnswerText(model, is_constrained=True)
    assert answer.push(delta) == text
    parameters = {"type": "object", "properties": {"a": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    calling = AnswerText(model, is_constrained=True, tool_parser=JsonCalls([tool], ["f"], max_calls=1))
    assert calling.push(delta) + calling.finish() == ""
    assert [call.arguments for call in calling.tool_calls] == ['{"a": "]b"}']


def test_text_that_closes_an_answer_ends_a_step_of_several_tokens(tiny_model: Model) -> None:
    model = copy.copy(tiny_model)
    model.manifest = tiny_model.manifest.model_copy(update={"answer_end": "]"})
    answer = AnswerText(model)
    ids = tuple(model.tokenizer.encode("42]7"))
    shown = answer.push(Delta(token_ids=ids, logprobs=(), cached_tokens=0, finish_reason=None))
    assert (shown, answer.has_ended, answer.stop_sequence) == ("42", True, None)
    assert len(answer.token_ids) == 3  # what follows in the step is dropped


@pytest.mark.parametrize("sampled", ["42\n]|", "42]|"])
@pytest.mark.parametrize("size", [1, 9])
def test_white_space_before_the_text_that_closes_an_answer_is_not_shown(
    tiny_model: Model, ids: Any, sampled: str, size: int
) -> None:
    model = copy.copy(tiny_model)
    model.manifest = tiny_model.manifest.model_copy(update={"answer_end": "\n]"})
    answer, deltas = push_all(model, pieces(ids(sampled), size))
    assert (answer.text, "".join(deltas)) == ("42", "42")
