"""Rollouts on the scripted engine: requests, truncations and answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.reasoning import Cause
from anytime_server.text.model import Model
from anytime_training.rollout import RolloutSampler

PROMPTS = [list(range(40, 60)), list(range(50, 80))]


@pytest.fixture(name="sampler")
def fixture_sampler(tiny_model: Model, scripted: Callable[..., ScriptedEngine]) -> Callable[..., Any]:
    async def make(*, budgets: tuple[int, ...] = (4, 8, 16), **script: Any) -> RolloutSampler:
        engine = scripted(**script)
        await engine.start()
        return RolloutSampler(
            engine=engine,
            reasoning=tiny_model.reasoning,
            budgets=budgets,
            group_size=3,
            answers_per_budget=2,
            answer_tokens=5,
        )

    return make


async def test_thinking_that_runs_out_is_truncated_at_each_budget(sampler: Any) -> None:
    rollouts = await (await sampler(never_end=True)).sample(PROMPTS, seed="a")
    assert [len(group) for group in rollouts] == [3, 3]
    for prompt_ids, group in zip(PROMPTS, rollouts, strict=True):
        for rollout in group:
            assert rollout.prompt_ids == prompt_ids
            assert len(rollout.thinking.token_ids) == 16
            assert [truncation.num_thinking_tokens for truncation in rollout.truncations] == [4, 8, 16]
            assert {truncation.cause for truncation in rollout.truncations} == {Cause.BUDGET}
            for truncation in rollout.truncations:
                assert truncation.thinking_ids == rollout.thinking.token_ids[: truncation.num_thinking_tokens]
            assert [len(answers) for answers in rollout.answers] == [2, 2, 2]


async def test_budgets_may_have_different_numbers_of_answers(sampler: Any) -> None:
    rollouts = await (await sampler(never_end=True)).sample(PROMPTS, seed="a", counts_B=[3, 1, 2])
    assert {tuple(map(len, rollout.answers)) for group in rollouts for rollout in group} == {(3, 1, 2)}
    equal = await (await sampler(never_end=True)).sample(PROMPTS, seed="a", counts_B=[2, 2, 2])
    assert equal == await (await sampler(never_end=True)).sample(PROMPTS, seed="a")


async def test_prompts_may_have_their_own_limits(sampler: Any) -> None:
    rollouts = await (await sampler(never_end=True)).sample(PROMPTS, seed="a", limits_P=[8, 16])
    lengths = [
        {tuple(one.num_thinking_tokens for one in rollout.truncations) for rollout in group}
        for group in rollouts
    ]
    assert lengths == [{(4, 8, 8)}, {(4, 8, 16)}]
    assert all(rollout.truncations[1] == rollout.truncations[2] for rollout in rollouts[0])


async def test_thinking_that_ends_early_collapses_the_budgets_beyond(sampler: Any, tiny_model: Model) -> None:
    [[rollout, *_], _] = await (await sampler(thinking_tokens=6)).sample(PROMPTS, seed="a")
    assert [truncation.num_thinking_tokens for truncation in rollout.truncations] == [4, 6, 6]
    assert [truncation.cause for truncation in rollout.truncations] == [
        Cause.BUDGET,
        Cause.NATURAL,
        Cause.NATURAL,
    ]
    assert rollout.truncations[1] == rollout.truncations[2]
    assert rollout.truncations[1].inserted_ids == tiny_model.reasoning.answer_lead_in_ids
    assert [len(answers) for answers in rollout.answers] == [2, 2, 2], "each budget owns its answers"


async def test_all_sampled_tokens_are_counted(sampler: Any) -> None:
    [[rollout, *_], _] = await (await sampler(thinking_tokens=6, answer="7")).sample(PROMPTS, seed="a")
    assert rollout.num_sampled_tokens == 6 + 3 * 2 * len("7$")  # the answer and the end of the turn


async def test_rollouts_follow_from_the_seed_alone(sampler: Any) -> None:
    first, again, other = [
        await (await sampler(never_end=True)).sample(PROMPTS, seed=seed) for seed in ("a", "a", "b")
    ]
    assert first == again
    assert first != other
    thinkings = [rollout.thinking.token_ids for group in first for rollout in group]
    assert len(set(thinkings)) == len(thinkings), "rollouts of a group differ"


async def test_longest_fitting_prompt_fills_the_window(sampler: Any, tiny_model: Model) -> None:
    one = await sampler(never_end=True, answer="x" * 9)
    longest = 512 - 16 - tiny_model.reasoning.max_inserted_tokens - 5
    assert one.fits(longest)
    assert not one.fits(longest + 1)
    [[rollout, *_]] = await one.sample([[60] * longest], seed="a")
    assert len(rollout.answers[-1][0].token_ids) == 5
