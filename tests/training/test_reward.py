"""Rewards by hand: right, wrong, and right but ill-formed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from anytime_server.engine import Generation
from anytime_server.reasoning import Cause, truncate_thinking
from anytime_server.text.model import Model
from anytime_training.reward import grade_rollouts
from anytime_training.rollout import Rollout
from anytime_training.tasks import Problem, Split


class SameText:
    """Grades an answer as right if it equals the problem's answer exactly."""

    def sample(self, rng: random.Random, split: Split = "train") -> Problem:
        raise NotImplementedError

    def grade(self, problem: Problem, answer_text: str) -> bool:
        return answer_text == problem.answer


PROBLEM = Problem(content="1", prompt="1", answer="42")


def generation(ids: Sequence[int]) -> Generation:
    return Generation(
        token_ids=tuple(ids), logprobs=(-1.0,) * len(ids), cached_tokens=0, finish_reason="stop"
    )


@pytest.fixture(name="rollout_of")
def fixture_rollout_of(tiny_model: Model) -> Callable[..., Rollout]:
    reasoning, encode = tiny_model.reasoning, tiny_model.tokenizer.encode
    ends = {"think-end": reasoning.think_end_id, "turn": min(reasoning.eos_ids)}

    def make(end: str | None, *answers: str, budgets: Sequence[int] = (2, 8)) -> Rollout:
        thinking_ids = encode("7-3") + ([ends[end]] if end else [])
        eos_id = min(reasoning.eos_ids)
        return Rollout(
            prompt_ids=encode("what"),
            thinking=generation(thinking_ids),
            truncations=tuple(
                truncate_thinking(thinking_ids[:budget], reasoning, cause=Cause.BUDGET) for budget in budgets
            ),
            answers=tuple(tuple(generation([*encode(text), eos_id]) for text in answers) for _ in budgets),
        )

    return make


def rewards(rollouts: list[Rollout], tiny_model: Model) -> list[list[list[float]]]:
    grades = grade_rollouts(
        [rollouts],
        [PROBLEM],
        task=SameText(),
        tokenizer=tiny_model.tokenizer,
        reasoning=tiny_model.reasoning,
    )
    most = max(map(len, rollouts[0].answers))
    assert grades.rewards_PGBA.shape == (1, len(rollouts), 2, most)
    return grades.rewards_PGBA[0].tolist()


def test_right_answers_are_rewarded(rollout_of: Callable[..., Rollout], tiny_model: Model) -> None:
    rollouts = [rollout_of("think-end", "42", "43"), rollout_of(None, "4", "42")]
    assert rewards(rollouts, tiny_model) == [[[1, 0], [1, 0]], [[0, 1], [0, 1]]]


def test_thinking_that_ends_the_turn_is_not_rewarded(
    rollout_of: Callable[..., Rollout], tiny_model: Model
) -> None:
    """Thinking that was truncated before the end of the turn is rewarded."""
    assert rewards([rollout_of("turn", "42")], tiny_model) == [[[1], [0]]]


def test_a_second_think_end_is_not_rewarded(rollout_of: Callable[..., Rollout], tiny_model: Model) -> None:
    assert rewards([rollout_of("think-end", "42</think>", "42")], tiny_model) == [[[0, 1], [0, 1]]]


def test_missing_answers_have_the_mean_of_their_budget(
    rollout_of: Callable[..., Rollout], tiny_model: Model
) -> None:
    one = rollout_of("think-end", "42", "43", "43")
    ragged = replace(one, answers=(one.answers[0][:2], one.answers[1]))
    assert rewards([ragged], tiny_model) == [[[1, 0, 0.5], [1, 0, 0]]]


def test_graded_texts_are_returned(rollout_of: Callable[..., Rollout], tiny_model: Model) -> None:
    grades = grade_rollouts(
        [[rollout_of("think-end", "42", " x")]],
        [PROBLEM],
        task=SameText(),
        tokenizer=tiny_model.tokenizer,
        reasoning=tiny_model.reasoning,
    )
    assert grades.texts == ["42", " x", "42", " x"]
    assert grades.formatted_PGBA.tolist() == [[[[1, 1], [1, 1]]]]
