"""Sampling defaults and end-of-turn ids from a checkpoint's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from anytime_server.errors import UnusableModel
from anytime_server.reasoning import SamplingDefaults, SamplingOptions
from anytime_server.text.generation_config import RANGES, end_of_turn_ids, sampling_defaults

FALLBACK_THINKING, FALLBACK_ANSWER = {"temperature": 0.6, "top_p": 0.95}, {"temperature": 0.0, "top_p": 1.0}
QWEN3 = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "eos_token_id": [1, 2]}


def write(folder: Path, name: str, contents: Any) -> None:
    (folder / name).write_text(json.dumps(contents))


def defaults(folder: Path, config: Any, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    write(folder, "generation_config.json", config)
    found = sampling_defaults(folder, **options)
    return found.thinking.given(), found.answer.given()


def test_model_without_the_file_gets_the_fallback(tmp_path: Path) -> None:
    found = sampling_defaults(tmp_path)
    assert (found.thinking.given(), found.answer.given()) == (FALLBACK_THINKING, FALLBACK_ANSWER)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (QWEN3, {"temperature": 0.6, "top_p": 0.95, "top_k": 20}),
        ({"do_sample": True}, {"temperature": 1.0, "top_p": 1.0}),
        ({"top_k": 40, "temperature": None}, {"temperature": 1.0, "top_p": 1.0, "top_k": 40}),
        ({"do_sample": False, "temperature": 0.3}, {"temperature": 0.3, "top_p": 1.0}),
        ({"temperature": 1, "top_k": -1}, {"temperature": 1, "top_p": 1.0, "top_k": 0}),
        ({"min_p": 0.01, "top_p": 0.8}, {"temperature": 1.0, "top_p": 0.8, "min_p": 0.01}),
    ],
)
def test_numbers_of_the_file_hold_for_thinking_and_answer(
    tmp_path: Path, config: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert defaults(tmp_path, config) == (expected, expected)


@pytest.mark.parametrize("config", [{"eos_token_id": 4}, {"do_sample": False}, {"temperature": None}])
def test_file_without_sampling_leaves_the_fallback(tmp_path: Path, config: dict[str, Any]) -> None:
    assert defaults(tmp_path, config) == (FALLBACK_THINKING, FALLBACK_ANSWER)


def test_penalties_alone_go_with_the_fallback(tmp_path: Path) -> None:
    config = {"repetition_penalty": 1.05, "presence_penalty": 1.5, "frequency_penalty": -0.5}
    assert defaults(tmp_path, config) == (FALLBACK_THINKING | config, FALLBACK_ANSWER | config)


def test_family_defaults_come_between_file_and_fallback(tmp_path: Path) -> None:
    family = SamplingDefaults(
        thinking=SamplingOptions(temperature=0.7, top_k=20), answer=SamplingOptions(temperature=0.2)
    )
    assert defaults(tmp_path, {}, family_defaults=family) == (
        {"temperature": 0.7, "top_p": 0.95, "top_k": 20},
        {"temperature": 0.2, "top_p": 1.0},
    )
    assert defaults(tmp_path, {"temperature": 0.9}, family_defaults=family) == (
        {"temperature": 0.9, "top_p": 1.0, "top_k": 20},
        {"temperature": 0.9, "top_p": 1.0},
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"temperature": "warm"}, "temperature must be at least 0, not 'warm'"),
        ({"temperature": -1}, "temperature must be at least 0, not -1"),
        ({"temperature": True}, "temperature must be at least 0, not True"),
        ({"top_p": 0}, "top_p must be over 0 and at most 1, not 0"),
        ({"top_k": 2.5}, "top_k must be a whole number"),
        ({"min_p": 1.5}, "min_p must be from 0 to 1"),
        ({"presence_penalty": 3}, "presence_penalty must be from -2 to 2"),
        ({"repetition_penalty": 0}, "repetition_penalty must be over 0"),
        *(({name: 10**400}, f"{name} must be ") for name in RANGES),
        *(({name: -(10**400)}, f"{name} must be ") for name in RANGES),
        ({"top_p": float("nan")}, "top_p must be over 0 and at most 1, not nan"),
        ({"top_k": 1 << 31}, "top_k must be a whole number"),
        ([1], "cannot be read: it is not a JSON object"),
    ],
)
def test_unusable_value_is_named_with_its_file(tmp_path: Path, config: Any, message: str) -> None:
    with pytest.raises(UnusableModel) as refused:
        defaults(tmp_path, config)
    assert f"{tmp_path / 'generation_config.json'}" in str(refused.value)
    assert message in str(refused.value)


def test_turns_end_by_both_files(tmp_path: Path) -> None:
    """Ids of `config.json` count if they are added tokens: 9 is ordinary text of this tokenizer."""
    write(tmp_path, "generation_config.json", QWEN3)
    write(tmp_path, "config.json", {"eos_token_id": [3, 9], "text_config": {"eos_token_id": 4}})
    assert end_of_turn_ids(tmp_path, added_ids={3, 4, 5}, num_ids=10) == {1, 2, 3, 4}
    write(tmp_path, "config.json", {"eos_token_id": 5})
    assert end_of_turn_ids(tmp_path, added_ids={3, 4, 5}, num_ids=10) == {1, 2, 5}
    write(tmp_path, "config.json", {"eos_token_id": None, "text_config": "none"})
    write(tmp_path, "generation_config.json", {})
    assert end_of_turn_ids(tmp_path, added_ids={1}, num_ids=10) == frozenset()


@pytest.mark.parametrize(
    ("name", "listed", "ignored"),
    [
        ("generation_config.json", ["</s>", 1], "'</s>'"),
        ("generation_config.json", [[5], 1, True, -1, 2.0], "[5], True, -1, 2.0"),
        ("generation_config.json", [10, 1], "10"),
        ("config.json", [1, "</s>"], "'</s>'"),
        ("config.json", [1, 10], "10"),
    ],
)
def test_ids_that_cannot_be_used_are_ignored_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, listed: list[Any], ignored: str
) -> None:
    write(tmp_path, name, {"eos_token_id": listed})
    assert end_of_turn_ids(tmp_path, added_ids={1}, num_ids=10) == {1}
    [record] = caplog.records
    assert record.getMessage() == (
        f"{tmp_path / name}: eos_token_id: not a token id of the model, and ignored: {ignored}"
    )


def test_model_may_have_more_ids_than_its_tokenizer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "config.json", {"vocab_size": 12})
    write(tmp_path, "generation_config.json", {"eos_token_id": 11})
    assert end_of_turn_ids(tmp_path, added_ids=(), num_ids=10) == {11}
    assert not caplog.records
