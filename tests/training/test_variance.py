"""The variance that each baseline leaves, by hand and in plain loops.

Dimensions: P prompts, G rollouts per prompt, B budgets, A answers per budget.
"""

from __future__ import annotations

import math
from statistics import pvariance

import pytest
import torch
from anytime_training.advantage import baselines
from anytime_training.variance import normalised_variance

BASE = torch.tensor([0.0, 1.0], dtype=torch.float64)
UNIFORM = torch.tensor([0.5, 0.5], dtype=torch.float64)

# Two prompts of two rollouts; means (0, 1), (1, 1), (0, 0), (0, 0): an easy prompt and a hard one.
REWARDS = torch.tensor([[[[0.0], [1.0]], [[1.0], [1.0]]], [[[0.0], [0.0]], [[0.0], [0.0]]]])
FULL = torch.tensor([2, 4]).expand(2, 2, 2)


def assert_ratios(actual: dict[str, torch.Tensor], expected: dict[str, list[float]]) -> None:
    assert actual.keys() == expected.keys()
    for name, ratios in expected.items():
        assert actual[name].tolist() == pytest.approx(ratios, rel=1e-12, abs=1e-14, nan_ok=True), name


def test_by_hand() -> None:
    # Base prior: R = 1, 1 | 0, 0 at both budgets, of variance 1/4; V2 is R itself and leaves nothing.
    # V1 is 0 at the first budget, and 0, 1 | 0, 0 at the second: R - V1 = 1, 0 | 0, 0 has 1/4 - 1/16 = 3/16.
    # BRPO's is V2 at the first, and (V1 + V2)/2 at the second: R - V = 1/2, 0 | 0, 0 has 1/16 - 1/64 = 3/64.
    ratios = normalised_variance(REWARDS, FULL, [2, 4], BASE)
    assert_ratios(ratios, {"v1": [1, 0.75], "v2": [0, 0], "brpo": [0, 3 / 16]})


def test_a_rollout_is_not_in_its_own_group_mean() -> None:
    # R = 0, 1 at both budgets, of variance 1/4. V2 is the other's return: R - V2 = -1, 1, of variance 1.
    # V1 is 0, 0 and then R itself. BRPO's is V2 at the first, and (V1 + V2)/2 = 1/2, 1/2 at the second.
    rewards = torch.tensor([[[[0.0], [0.0]], [[1.0], [1.0]]]])
    ratios = normalised_variance(rewards, FULL[:1], [2, 4], BASE)
    assert_ratios(ratios, {"v1": [1, 0], "v2": [4, 4], "brpo": [4, 1]})


def test_baselines_that_predict_nothing_add_variance() -> None:
    # Independent rewards of variance s. R - V2 has s + s/7, R - V1 at the second budget s + s, and BRPO's
    # mixture of halves s + s/4 + s/28. With itself in the mean, V2 would leave (7/8)² = 0.766.
    random = torch.Generator().manual_seed(0)
    rewards = torch.randint(2, (20_000, 8, 2, 1), generator=random).float()
    ratios = normalised_variance(rewards, FULL[:1, :1].expand(20_000, 8, 2), [2, 4], BASE)
    expected = {"v1": [1, 2], "v2": [8 / 7, 8 / 7], "brpo": [8 / 7, 9 / 7]}
    assert ratios.keys() == expected.keys()
    for name, ratios_B in expected.items():
        assert ratios[name].tolist() == pytest.approx(ratios_B, abs=0.02), name


def test_only_thinking_that_reaches_a_segment_counts() -> None:
    # The second rollout ends within the first segment. The others have R = 1 | 0, 0 at the last budget, of
    # variance 1/3 - 1/9 = 2/9, and V1 = 0. V2 of the first is still the return of the second.
    truncated = torch.tensor([[[2, 4], [1, 1]], [[2, 3], [2, 4]]])
    ratios = normalised_variance(REWARDS, truncated, [2, 4], BASE)
    # (V1 + V2)/2 = 1/2 | 0, 0: R - V = 1/2 | 0, 0, a quarter of the variance.
    assert_ratios(ratios, {"v1": [1, 1], "v2": [0, 0], "brpo": [0, 0.25]})


def test_thinking_that_fills_a_segment_does_not_reach_the_next() -> None:
    # Lengths 2, 2 | 2, 2 and 4: one rollout is left in the last segment, and does not vary.
    truncated = torch.tensor([[[2, 2], [2, 2]], [[2, 2], [2, 4]]])
    assert math.isnan(normalised_variance(REWARDS, truncated, [2, 4], BASE)["v1"][1])
    # Without any rollout in the segment it is NaN as well.
    ratios = normalised_variance(REWARDS, FULL.minimum(torch.tensor(2)), [2, 4], BASE)
    assert_ratios(ratios, {"v1": [1, math.nan], "v2": [0, math.nan], "brpo": [0, math.nan]})


def test_returns_that_do_not_vary() -> None:
    # 0.1 + 0.2 and 0.3 + 0 differ in the last bit only.
    rewards = torch.tensor([[[[0.1], [0.2]], [[0.3], [0.0]]]], dtype=torch.float64)
    ratios = normalised_variance(rewards, FULL[:1], [2, 4], UNIFORM)
    assert [math.isnan(ratios[name][0]) for name in ratios] == [True] * 3
    assert not ratios["v1"][1].isnan()
    silent = normalised_variance(torch.zeros(2, 2, 2, 1), FULL, [2, 4], UNIFORM)
    assert all(ratio_B.isnan().all() for ratio_B in silent.values())


def test_ratios_do_not_depend_on_scale_and_shift() -> None:
    before = normalised_variance(REWARDS.double(), FULL, [2, 4], BASE)
    after = normalised_variance(5 * REWARDS.double() - 2, FULL, [2, 4], BASE)
    assert_ratios(after, {name: ratio_B.tolist() for name, ratio_B in before.items()})


@pytest.mark.parametrize("seed", range(20))
def test_as_in_loops(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    num_prompts, num_rollouts, num_budgets, num_answers = 1 + seed % 3, 1 + seed % 4, 1 + seed % 5, 2
    rewards = torch.rand((num_prompts, num_rollouts, num_budgets, num_answers), generator=random).double()
    budgets = [3 * j for j in range(1, num_budgets + 1)]
    lengths = torch.randint(1, budgets[-1] + 3, (num_prompts, num_rollouts, 1), generator=random)
    truncated = lengths.minimum(torch.tensor(budgets))
    prior, decay = torch.rand(num_budgets, generator=random).double() + 0.1, 0.3
    parts = baselines(rewards, prior, decay=decay)
    others = torch.zeros_like(parts.returns_PGB)
    if num_rollouts > 1:
        for g in range(num_rollouts):
            kept = [other for other in range(num_rollouts) if other != g]
            others[:, g] = parts.returns_PGB[:, kept].mean(dim=1)
    share = torch.arange(num_budgets).double() / num_budgets
    values_of = {
        "v1": parts.own_past_PGB,
        "v2": others,
        "brpo": share * parts.own_past_PGB + (1 - share) * others,
    }
    expected: dict[str, list[float]] = {name: [] for name in values_of}
    for name, values in values_of.items():
        for j in range(num_budgets):
            reaching = [
                (float(parts.returns_PGB[p, g, j]), float(values[p, g, j]))
                for p in range(num_prompts)
                for g in range(num_rollouts)
                # Its first token is the one after the budget before.
                if j == 0 or int(lengths[p, g]) > budgets[j - 1]
            ]
            whole = pvariance([r for r, _ in reaching]) if reaching else 0.0
            left = pvariance([r - v for r, v in reaching]) if reaching else 0.0
            expected[name].append(left / whole if whole else math.nan)
    assert_ratios(normalised_variance(rewards, truncated, budgets, prior, decay=decay), expected)


def test_v2_of_single_rollouts_leaves_all_variance() -> None:
    ratios = normalised_variance(REWARDS[:, :1], FULL[:, :1], [2, 4], BASE)
    assert_ratios(ratios, {"v1": [1, 1], "v2": [1, 1], "brpo": [1, 1]})


@pytest.mark.parametrize(
    ("truncated", "budgets", "message"),
    [
        (FULL, [2, 4, 8], "at 3 budgets"),
        (FULL[:1], [2, 4], r"not one for each of \(2, 2, 2\)"),
        (FULL, [3, 4], r"not what the budgets \[3, 4\] make"),
        (FULL, [4, 2], r"not what the budgets \[4, 2\] make"),
        (FULL[..., 1:].expand(2, 2, 2), [4, 4], r"not what the budgets \[4, 4\] make"),
        (FULL + 1, [2, 4], "make of any thinking"),
    ],
)
def test_impossible_lengths_are_refused(truncated: torch.Tensor, budgets: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normalised_variance(REWARDS, truncated, budgets, BASE)


def test_impossible_prior_is_refused() -> None:
    with pytest.raises(ValueError, match="does not weigh 2 budgets"):
        normalised_variance(REWARDS, FULL, [2, 4], torch.ones(3))
