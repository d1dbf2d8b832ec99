"""Advantages against numbers computed by hand, plain loops over the formulas, and invariants.

Dimensions: P prompts, G rollouts per prompt, B budgets, A answers per budget.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product
from typing import Any, get_args

import pytest
import torch
from anytime_training.advantage import baselines, summary_advantages, thinking_advantages
from anytime_training.baselines import BaselineName
from anytime_training.baselines.own_past import own_past
from anytime_training.config.credit import PriorName, SummaryPreset
from anytime_training.prior import budget_prior
from anytime_training.returns import returns

PAPER_BASELINES = ("brpo", "v1_only", "v2_only", "none")
UNIFORM_3 = torch.ones(3, dtype=torch.float64)
BASE_3 = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
LINEAR_3 = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)

# One prompt, two rollouts, three budgets, two answers: means (0, 1/2, 1) and (1/2, 1/2, 0).
REWARDS = torch.tensor([[[[0, 0], [1, 0], [1, 1]], [[0, 1], [0, 1], [0, 0]]]], dtype=torch.float64)


def exact(rows: Sequence[Sequence[str]]) -> torch.Tensor:
    """[1, G, B] of fractions as they are written."""
    return torch.tensor([[[float(Fraction(text)) for text in row] for row in rows]], dtype=torch.float64)


def assert_same(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-13)


# Thinking, by hand


def test_the_parts_of_a_thinking_advantage() -> None:
    # Uniform prior, so R_1 = (0 + 1/2 + 1)/3, R_2 = (1/2 + 1)/3, R_3 = 1/3, and of the other rollout
    # R_1 = (1/2 + 1/2)/3, R_2 = 1/6, R_3 = 0.
    parts = baselines(REWARDS, UNIFORM_3)
    assert_same(parts.returns_PGB, exact([["1/2", "1/2", "1/3"], ["1/3", "1/6", "0"]]))
    # V1_2 = r_1 · 2/3. V1_3 = (1/4 r_1 + 1/2 r_2)/(3/4) · 1/3: (1/4)/(3/4)/3 = 1/9 and (3/8)/(3/4)/3 = 1/6.
    assert_same(parts.own_past_PGB, exact([["0", "0", "1/9"], ["0", "1/3", "1/6"]]))
    # (1/2 + 1/3)/2, (1/2 + 1/6)/2, (1/3 + 0)/2
    assert_same(parts.group_mean_PGB, exact([["5/12", "1/3", "1/6"]] * 2))
    # V2_1; 1/3 V1_2 + 2/3 V2_2 = 2/9 and 1/9 + 2/9; 2/3 V1_3 + 1/3 V2_3 = 2/27 + 1/18 and 1/9 + 1/18
    assert_same(parts.mixture_PGB, exact([["5/12", "2/9", "7/54"], ["5/12", "1/3", "1/6"]]))


@pytest.mark.parametrize(
    ("prior", "baseline", "expected"),
    [
        (UNIFORM_3, "brpo", [["1/12", "5/18", "11/54"], ["-1/12", "-1/6", "-1/6"]]),
        (UNIFORM_3, "v1_only", [["1/2", "1/2", "2/9"], ["1/3", "-1/6", "-1/6"]]),
        (UNIFORM_3, "v2_only", [["1/12", "1/6", "1/6"], ["-1/12", "-1/6", "-1/6"]]),
        (UNIFORM_3, "none", [["1/2", "1/2", "1/3"], ["1/3", "1/6", "0"]]),
        # R = (1, 1, 1) and (0, 0, 0), V2 = 1/2; V1_2 = r_1, V1_3 = (r_1 + 2 r_2)/3: (0, 1/3) and (1/2, 1/2).
        # V_2 = 1/3·0 + 2/3·1/2 = 1/3 and 1/6 + 1/3; V_3 = 2/3·1/3 + 1/3·1/2 = 7/18 and 1/3 + 1/6.
        (BASE_3, "brpo", [["1/2", "2/3", "11/18"], ["-1/2", "-1/2", "-1/2"]]),
        # P = (1/6, 1/3, 1/2). R = (1/6 + 1/2, 2/3, 1/2) and (1/12 + 1/6, 1/6, 0); V2 = (11/24, 5/12, 1/4).
        # V1_2 = r_1 · 5/6: 0 and 5/12; V1_3 = 1/3 · 1/2 = 1/6 and 1/2 · 1/2 = 1/4.
        # 2/3 - (2/3·5/12) = 7/18; 1/2 - (2/3·1/6 + 1/3·1/4) = 11/36; 1/6 - 5/12 = -1/4; 0 - 1/4.
        (LINEAR_3, "brpo", [["5/24", "7/18", "11/36"], ["-5/24", "-1/4", "-1/4"]]),
    ],
)
def test_by_hand(prior: torch.Tensor, baseline: BaselineName, expected: list[list[str]]) -> None:
    assert_same(thinking_advantages(REWARDS, prior, baseline=baseline), exact(expected))


def test_decay_weighs_earlier_budgets() -> None:
    # V1_3 · 3 of the first rollout, r = (0, 1/2): λ = 1 is their mean 1/4, λ = 0 the last, 1/2.
    assert_same(own_past(REWARDS, UNIFORM_3, decay=1)[0, 0, 2], torch.tensor(1 / 12, dtype=torch.float64))
    assert_same(own_past(REWARDS, UNIFORM_3, decay=0)[0, 0, 2], torch.tensor(1 / 6, dtype=torch.float64))
    advantages = thinking_advantages(REWARDS, UNIFORM_3, baseline="v1_only", decay=0)
    assert_same(advantages[0, 0], exact([["1/2", "1/2", "1/6"]])[0, 0])


def test_leave_one_out_and_single_rollouts() -> None:
    # V2 of each is the other's return.
    advantages = thinking_advantages(REWARDS, UNIFORM_3, baseline="v2_only", leave_one_out=True)
    assert_same(advantages, exact([["1/6", "1/3", "1/3"], ["-1/6", "-1/3", "-1/3"]]))
    for leave_one_out in (False, True):  # V2 is 0: 1/3 - 2/3 · 1/9
        alone = thinking_advantages(REWARDS[:, :1], UNIFORM_3, leave_one_out=leave_one_out)
        assert_same(alone, exact([["1/2", "1/2", "7/27"]]))


# Summaries, by hand

# The thinking of the first rollout exceeds every budget, that of the second ends in the middle segment.
LENGTHS = torch.tensor([[[2, 4, 6], [2, 3, 3]]])


def test_summaries_of_one_truncation_are_one_group() -> None:
    # Group means: 0, 1/2, 1; and 1/2, then (0 + 1 + 0 + 0)/4 for the two budgets of equal length.
    expected = torch.tensor(
        [[[[0, 0], [0.5, -0.5], [0, 0]], [[-0.5, 0.5], [-0.25, 0.75], [-0.25, -0.25]]]], dtype=torch.float64
    )
    assert_same(summary_advantages(REWARDS, LENGTHS), expected)
    assert_same(summary_advantages(REWARDS, LENGTHS, weight=1 / 6), expected / 6)
    # A group of 2 by 2/1, a group of 4 by 4/3.
    expected[0, 0] *= 2
    expected[0, 1, 0] *= 2
    expected[0, 1, 1:] *= 4 / 3
    assert_same(summary_advantages(REWARDS, LENGTHS, leave_one_out=True), expected)


def test_different_numbers_of_summaries() -> None:
    """Both budgets of the second rollout share a group of three; elements without a summary are ignored."""
    rewards = torch.tensor([[[[0, 1], [1, 9]], [[0, 1], [1, 9]]]], dtype=torch.float64)
    lengths = torch.tensor([[[2, 4], [2, 2]]])
    actual = summary_advantages(rewards, lengths, counts_B=[2, 1])
    expected = torch.tensor([[[[-1 / 2, 1 / 2], [0, 0]], [[-2 / 3, 1 / 3], [1 / 3, 0]]]], dtype=torch.float64)
    assert_same(actual, expected)
    last = summary_advantages(rewards, lengths, counts_B=[2, 1], preset="grpo")
    assert last.nonzero().tolist() == [[0, 1, 1, 0]]
    left_out = summary_advantages(rewards, lengths, counts_B=[2, 1], leave_one_out=True)
    assert_same(left_out[0, 1], 1.5 * expected[0, 1])
    assert torch.equal(
        summary_advantages(rewards, lengths), summary_advantages(rewards, lengths, counts_B=[2, 2])
    )


def test_grpo_trains_the_last_summary_alone() -> None:
    expected = torch.zeros_like(REWARDS)
    expected[0, 1, -1, -1] = 0 - 1 / 4
    assert_same(summary_advantages(REWARDS, LENGTHS, preset="grpo"), expected)


def test_baseline_of_a_single_answer_is_the_mean_over_rollouts() -> None:
    # Means over the three rollouts: 2/3, 1/3, 1. Equal lengths do not matter here.
    rewards = torch.tensor([[[[1], [0], [1]], [[1], [1], [1]], [[0], [0], [1]]]], dtype=torch.float64)
    truncated = torch.tensor([[[2, 4, 6], [2, 2, 2], [1, 1, 1]]])
    expected = exact([["1/3", "-1/3", "0"], ["1/3", "2/3", "0"], ["-2/3", "-1/3", "0"]]).unsqueeze(-1)
    assert_same(summary_advantages(rewards, truncated), expected)
    assert_same(summary_advantages(rewards, truncated, leave_one_out=True), 1.5 * expected)
    assert not summary_advantages(rewards, truncated, preset="grpo").any()
    rewards[0, 0, -1] = 0  # the last mean is 2/3
    last = exact([["0", "0", "-2/3"], ["0", "0", "1/3"], ["0", "0", "1/3"]]).unsqueeze(-1)
    assert_same(summary_advantages(rewards, truncated, preset="grpo"), last)


# The formulas in plain loops


def slow_baseline(name: str, means: Any, prior: Any, g: int, j: int, decay: float, left_out: bool) -> float:
    """V_j of rollout g of one prompt; j from 1, as the formulas count."""
    m, past = len(prior), range(1, j)
    weights = [decay ** (j - k) for k in past]
    v1 = sum(w * means[g][k - 1] for w, k in zip(weights, past, strict=True)) / (sum(weights) or 1)
    v1 *= sum(prior[j - 1 :])
    peers = [slow_return(row, prior, j) for h, row in enumerate(means) if h != g or not left_out]
    v2 = sum(peers) / len(peers) if len(means) > 1 else 0.0
    return {"brpo": (j - 1) / m * v1 + (m - j + 1) / m * v2, "v1_only": v1, "v2_only": v2, "none": 0.0}[name]


def slow_return(means: Any, prior: Any, j: int) -> float:
    return sum(prior[k - 1] * means[k - 1] for k in range(j, len(prior) + 1))


def slow_peers(prompt: Any, truncated: Any, g: int, j: int) -> list[float]:
    """Rewards in the group of a summary at budget j (from 0) of rollout g, including its own."""
    if len(prompt[g][j]) == 1:
        return [rollout[j][0] for rollout in prompt]
    return [
        reward
        for k, length in enumerate(truncated[g])
        if length == truncated[g][j]
        for reward in prompt[g][k]
    ]


def draw(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
    """Rewards, lengths, prior and decay of any shape; budgets often collapse."""
    random = torch.Generator().manual_seed(seed)
    num_prompts, num_rollouts, num_budgets, num_answers = (
        int(torch.randint(1, most + 1, (), generator=random)) for most in (3, 4, 5, 4)
    )
    shape = (num_prompts, num_rollouts, num_budgets, num_answers)
    rewards = torch.randint(0, 2, shape, generator=random).double()
    if seed % 2:  # rewards need not be 0 and 1
        rewards = torch.randn(shape, generator=random, dtype=torch.float64)
    budgets = torch.arange(1, num_budgets + 1) * 2
    lengths = torch.randint(1, 2 * num_budgets + 4, (num_prompts, num_rollouts, 1), generator=random)
    prior = torch.rand(num_budgets, generator=random, dtype=torch.float64) + 0.01
    return rewards, lengths.minimum(budgets), prior, float(torch.rand((), generator=random)) * 0.9 + 0.1


over_seeds = pytest.mark.parametrize("seed", range(30))
over_left_out = pytest.mark.parametrize("leave_one_out", [False, True])


@over_seeds
@over_left_out
@pytest.mark.parametrize("baseline", PAPER_BASELINES)
def test_thinking_is_as_in_loops(seed: int, baseline: BaselineName, leave_one_out: bool) -> None:
    rewards, _, prior, decay = draw(seed)
    actual = thinking_advantages(rewards, prior, baseline=baseline, decay=decay, leave_one_out=leave_one_out)
    expected = torch.empty_like(actual)
    shares = [weight / sum(prior.tolist()) for weight in prior.tolist()]
    for p, g, j in product(*map(range, actual.shape)):
        means = [[sum(answers) / len(answers) for answers in rollout] for rollout in rewards[p].tolist()]
        value = slow_baseline(baseline, means, shares, g, j + 1, decay, leave_one_out)
        expected[p, g, j] = slow_return(means[g], shares, j + 1) - value
    assert_same(actual, expected)


@over_seeds
@over_left_out
@pytest.mark.parametrize("preset", get_args(SummaryPreset))
def test_summaries_are_as_in_loops(seed: int, leave_one_out: bool, preset: SummaryPreset) -> None:
    rewards, truncated, _, weight = draw(seed)
    actual = summary_advantages(rewards, truncated, preset=preset, weight=weight, leave_one_out=leave_one_out)
    expected = torch.zeros_like(actual)
    for p, g, j, a in product(*map(range, actual.shape)):
        reward = float(rewards[p, g, j, a])
        peers = slow_peers(rewards[p].tolist(), truncated[p].tolist(), g, j)
        if leave_one_out and len(peers) > 1:
            peers.remove(reward)
        is_last = (j, a) == (actual.shape[2] - 1, actual.shape[3] - 1)
        if preset == "brpo" or (preset == "grpo" and is_last):
            expected[p, g, j, a] = weight * (reward - sum(peers) / len(peers))
    assert_same(actual, expected)


# Invariants


@over_seeds
@over_left_out
def test_a_constant_on_all_rewards(seed: int, leave_one_out: bool) -> None:
    rewards, truncated, prior, decay = draw(seed)
    tail = torch.stack([prior[j:].sum() / prior.sum() for j in range(len(prior))])
    share = torch.arange(len(prior)).double() / len(prior)
    is_first, is_alone = torch.arange(len(prior)) == 0, rewards.shape[1] == 1
    # V1 rises with the return but at the first budget, where it is 0; V2 does but for a rollout alone.
    rise_of: dict[BaselineName, torch.Tensor] = {
        "none": tail,
        "v1_only": tail * is_first,
        "v2_only": tail * is_alone,
        "brpo": tail * (1 - share) * is_alone,
    }
    for baseline, rise in rise_of.items():
        before, after = (
            thinking_advantages(r, prior, baseline=baseline, decay=decay, leave_one_out=leave_one_out)
            for r in (rewards, rewards + 3)
        )
        assert_same(after - before, (3 * rise).expand_as(before))
    before, after = (
        summary_advantages(r, truncated, leave_one_out=leave_one_out) for r in (rewards, rewards + 3)
    )
    assert_same(after, before)


@over_seeds
def test_the_first_budget_has_no_past(seed: int) -> None:
    rewards, _, prior, decay = draw(seed)
    parts = baselines(rewards, prior, decay=decay)
    assert not parts.own_past_PGB[..., 0].any()
    assert torch.equal(parts.mixture_PGB[..., 0], parts.group_mean_PGB[..., 0])


@over_seeds
def test_a_group_under_v2_sums_to_zero_and_leaving_one_out_scales_it(seed: int) -> None:
    rewards, _, prior, _ = draw(seed)
    if (num_rollouts := rewards.shape[1]) > 1:
        plain = thinking_advantages(rewards, prior, baseline="v2_only")
        assert_same(plain.sum(dim=1), torch.zeros_like(plain[:, 0]))
        left_out = thinking_advantages(rewards, prior, baseline="v2_only", leave_one_out=True)
        assert_same(left_out, plain * num_rollouts / (num_rollouts - 1))


@over_seeds
@over_left_out
def test_collapsed_budgets_are_one_budget_of_more_answers(seed: int, leave_one_out: bool) -> None:
    rewards = torch.cat([draw(seed)[0]] * 2, dim=-1)  # two answers at least
    pooled, truncated = rewards.flatten(2).unsqueeze(2), torch.full(rewards.shape[:3], 2)
    actual = summary_advantages(rewards, truncated, leave_one_out=leave_one_out)
    expected = summary_advantages(pooled, truncated[..., :1], leave_one_out=leave_one_out)
    assert_same(actual.reshape(pooled.shape), expected)


@over_seeds
def test_order_of_rollouts_and_answers_does_not_matter(seed: int) -> None:
    rewards, truncated, prior, decay = draw(seed)
    random = torch.Generator().manual_seed(seed)
    rollouts, answers = (torch.randperm(rewards.shape[dim], generator=random) for dim in (1, 3))
    shuffled = rewards[:, rollouts][..., answers]
    thinking, summaries = (
        thinking_advantages(rewards, prior, decay=decay),
        summary_advantages(rewards, truncated),
    )
    assert_same(thinking_advantages(shuffled, prior, decay=decay), thinking[:, rollouts])
    assert_same(summary_advantages(shuffled, truncated[:, rollouts]), summaries[:, rollouts][..., answers])


@pytest.mark.parametrize("num_rollouts", range(2, 9))
def test_equal_rewards_give_exactly_zero(num_rollouts: int) -> None:
    for num_budgets, prior, reward in product(range(1, 6), get_args(PriorName), (1.0, 0.1)):
        rewards = torch.full((1, num_rollouts, num_budgets, 3), reward)
        prior_B = budget_prior(prior, range(2, num_budgets + 2))
        assert not thinking_advantages(rewards, prior_B).any()
        assert not summary_advantages(rewards, torch.full((1, num_rollouts, num_budgets), 2)).any()


@over_seeds
def test_only_the_ratios_of_a_prior_count(seed: int) -> None:
    rewards, _, prior, _ = draw(seed)
    assert_same(thinking_advantages(rewards, 7 * prior), thinking_advantages(rewards, prior))


@over_seeds
def test_the_base_prior_returns_the_last_reward_everywhere(seed: int) -> None:
    rewards = draw(seed)[0]
    base = budget_prior("base", range(1, rewards.shape[2] + 1))
    assert torch.equal(returns(rewards, base), rewards.mean(dim=-1)[..., -1:].expand(rewards.shape[:3]))


def test_one_budget_and_one_answer_is_dr_grpo() -> None:
    rewards = torch.tensor([[1, 0, 0, 1, 1], [0, 0, 0, 0, 1]], dtype=torch.float64)
    dr_grpo = rewards - rewards.mean(dim=1, keepdim=True)
    rewards_PGBA = rewards[..., None, None]
    assert_same(thinking_advantages(rewards_PGBA, torch.ones(1), baseline="v2_only"), dr_grpo[..., None])
    summaries = summary_advantages(rewards_PGBA, torch.full((2, 5, 1), 9), preset="grpo")
    assert_same(summaries, dr_grpo[..., None, None])


def test_single_precision_stays_single() -> None:
    thinking = thinking_advantages(REWARDS.float(), UNIFORM_3)
    assert thinking.dtype == torch.float32
    torch.testing.assert_close(thinking, thinking_advantages(REWARDS, UNIFORM_3).float())
    assert summary_advantages(REWARDS.float(), LENGTHS, leave_one_out=True).dtype == torch.float32


# Refused arguments


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        (REWARDS[0], r"\[prompts, rollouts, budgets, answers\], not of shape \(2, 3, 2\)"),
        (REWARDS[:, :0], "not of shape"),
        (REWARDS.long(), "float32 or float64, not torch.int64"),
        (REWARDS.half(), "float32 or float64, not torch.float16"),
        (REWARDS / 0, "not a finite number"),
    ],
)
def test_impossible_rewards_are_refused(rewards: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        thinking_advantages(rewards, UNIFORM_3)
    with pytest.raises(ValueError, match=message):
        summary_advantages(rewards, LENGTHS)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (thinking_advantages, {"prior_B": torch.ones(2)}, "does not weigh 3 budgets"),
        (thinking_advantages, {"prior_B": torch.ones(1, 3)}, "does not weigh 3 budgets"),
        (thinking_advantages, {"prior_B": torch.tensor([1, -1, 1])}, "not negative"),
        (thinking_advantages, {"prior_B": torch.zeros(3)}, "zero"),
        (thinking_advantages, {"prior_B": BASE_3, "baseline": "v3"}, "baseline must be one of"),
        (thinking_advantages, {"prior_B": BASE_3, "decay": -0.1}, "decay"),
        (thinking_advantages, {"prior_B": BASE_3, "decay": float("nan")}, "decay"),
        (summary_advantages, {"lengths_PGB": LENGTHS[..., :2]}, r"shape \(1, 2, 2\) are not one for each"),
        (summary_advantages, {"lengths_PGB": LENGTHS.double()}, "int32 or int64, not torch.float64"),
        (summary_advantages, {"lengths_PGB": LENGTHS.bool()}, "int32 or int64, not torch.bool"),
        (summary_advantages, {"lengths_PGB": LENGTHS.flip(-1)}, "descend"),
        (summary_advantages, {"lengths_PGB": LENGTHS - 3}, "negative"),
        (summary_advantages, {"lengths_PGB": LENGTHS, "preset": "all"}, "preset must be one of"),
        (summary_advantages, {"lengths_PGB": LENGTHS, "weight": -1.0}, "weight"),
        (summary_advantages, {"lengths_PGB": LENGTHS, "counts_B": [2, 2]}, "numbers of summaries"),
        (summary_advantages, {"lengths_PGB": LENGTHS, "counts_B": [1, 1, 1]}, "numbers of summaries"),
        (summary_advantages, {"lengths_PGB": LENGTHS, "counts_B": [0, 2, 2]}, "numbers of summaries"),
        (summary_advantages, {"lengths_PGB": LENGTHS, "weight": float("nan")}, "weight"),
        (summary_advantages, {"lengths_PGB": LENGTHS, "weight": float("inf")}, "weight"),
    ],
)
def test_impossible_arguments_are_refused(
    function: Callable[..., Any], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        function(REWARDS, **arguments)


def test_thinking_may_be_empty_and_summaries_may_weigh_nothing() -> None:
    # Lengths (0, 0, 1): a group of four, mean 3/4, and a group of two, mean 1/2.
    rewards = torch.tensor([[[[1, 1], [1, 0], [1, 0]]]], dtype=torch.float64)
    for dtype in (torch.int32, torch.int64):
        actual = summary_advantages(rewards, torch.tensor([[[0, 0, 1]]], dtype=dtype))
        expected = torch.tensor([[[[0.25, 0.25], [0.25, -0.75], [0.5, -0.5]]]], dtype=torch.float64)
        assert_same(actual, expected)
    assert not summary_advantages(REWARDS, LENGTHS, weight=0.0).any()
