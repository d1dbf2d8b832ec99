"""The learner's step: the loss does not depend on packing, and errors leave the weights unchanged."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
from anytime_training.config.brpo import LearnerConfig
from anytime_training.config.loss import LossConfig
from anytime_training.errors import TrainingFailed
from anytime_training.learner import Learner, learning_rate_at
from anytime_training.policy import hidden_states, token_logprobs
from anytime_training.tree import Branch, Segment, Tree, pack
from transformers import Qwen3Config, Qwen3ForCausalLM

VOCABULARY = 50


@pytest.fixture(name="model")
def fixture_model() -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
    )
    model = Qwen3ForCausalLM(config)
    model.set_attn_implementation("sdpa")
    return model


def segment(rng: random.Random, num_given: int, num_sampled: int, advantage: float) -> Segment:
    return Segment(
        ids=[rng.randrange(VOCABULARY) for _ in range(num_given + num_sampled)],
        learned=[False] * num_given + [True] * num_sampled,
        advantages=[0.0] * num_given + [advantage] * num_sampled,
        sampler_logprobs=[0.0] * num_given + [-3.9] * num_sampled,
    )


def trees(seed: int = 1, *, num_prompts: int = 4) -> list[list[Tree]]:
    rng = random.Random(seed)
    return [
        [
            Tree(
                trunk=segment(rng, 5, rng.randint(4, 20), rng.uniform(-1, 1)),
                branches=tuple(
                    Branch(segment=segment(rng, 3, 2, rng.uniform(-1, 1)), num_visible=rng.randint(5, 9))
                    for _ in range(3)
                ),
            )
            for _ in range(2)
        ]
        for _ in range(num_prompts)
    ]


def learner_of(model: Qwen3ForCausalLM, *, loss: LossConfig | None = None, **config: Any) -> Learner:
    return Learner(
        copy.deepcopy(model),
        config=LearnerConfig.model_validate({"learning_rate": 1e-3} | config),
        loss=loss or LossConfig(),
        pad_id=0,
        max_rollout_tokens=25,
    )


def weights(learner: Learner) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in learner.model.parameters()])


def test_packing_does_not_change_the_step(model: Qwen3ForCausalLM) -> None:
    results = []
    for row_tokens, micro_batch_tokens in ((64, 64), (128, 1000), (1000, 1000)):
        learner = learner_of(model, row_tokens=row_tokens, micro_batch_tokens=micro_batch_tokens)
        results.append((learner.step(trees(), number=0, num_rollouts=8), weights(learner)))
    first, first_weights = results[0]
    for metrics, moved in results[1:]:
        assert metrics == pytest.approx(first, rel=1e-4)
        torch.testing.assert_close(moved, first_weights, rtol=1e-3, atol=2e-5)
    assert first["packed_tokens"] == sum(len(tree) for group in trees() for tree in group)


def test_step_raises_the_probability_of_good_tokens(model: Qwen3ForCausalLM) -> None:
    """And lowers that of bad tokens."""
    rng = random.Random(3)
    good, bad = (Tree(trunk=segment(rng, 5, 10, advantage)) for advantage in (1.0, -1.0))
    learner = learner_of(model)

    def mean_logprob(tree: Tree) -> float:
        rows = pack([tree], row_tokens=64, pad_id=0)
        with torch.no_grad():
            return token_logprobs(learner.model, rows, backend="sdpa").mean().item()

    before = mean_logprob(good), mean_logprob(bad)
    for number in range(5):
        learner.step([[good, bad]], number=number, num_rollouts=2)
    assert mean_logprob(good) > before[0] + 0.2
    assert mean_logprob(bad) < before[1] - 0.2


def test_gradient_is_clipped_before_it_enters_the_moments(model: Qwen3ForCausalLM) -> None:
    """After one step the moments are (1 - β1) g and (1 - β2) g², with g of the norm that it is clipped to."""
    learner = learner_of(model, loss=LossConfig(max_grad_norm=1e-3), beta1=0.8, beta2=0.96)
    assert learner.step(trees(), number=0, num_rollouts=8)["grad_norm"] > 1e-2
    moments = learner.optimiser.state.values()
    mean = torch.cat([moment["exp_avg"].flatten() for moment in moments])
    squares = torch.cat([moment["exp_avg_sq"].flatten() for moment in moments])
    assert mean.norm().item() == pytest.approx(0.2 * 1e-3, rel=1e-3)
    assert squares.sum().item() == pytest.approx(0.04 * 1e-6, rel=1e-3)


def test_a_step_starts_without_the_gradient_of_the_last(model: Qwen3ForCausalLM) -> None:
    learner = learner_of(model, learning_rate=1e-12)  # the weights stay as they are, and so does the gradient
    first, second = (learner.step(trees(), number=n, num_rollouts=8)["grad_norm"] for n in range(2))
    assert second == pytest.approx(first, rel=1e-4)


def test_weights_decay(model: Qwen3ForCausalLM) -> None:
    """By the learning rate times the weight decay, beside the gradient's step."""
    with_decay, without = learner_of(model, weight_decay=0.5), learner_of(model)
    before = weights(without)
    for learner in (with_decay, without):
        learner.step(trees(), number=0, num_rollouts=8)
    torch.testing.assert_close(
        weights(without) - weights(with_decay), 1e-3 * 0.5 * before, rtol=1e-3, atol=1e-6
    )


def test_rollouts_that_are_left_out_count(model: Qwen3ForCausalLM) -> None:
    one, other = (
        learner_of(model).step(trees(), number=0, num_rollouts=num_rollouts)["loss"]
        for num_rollouts in (8, 16)
    )
    assert one == pytest.approx(2 * other)


def test_the_second_minibatch_is_clipped_against_the_start_of_the_step(model: Qwen3ForCausalLM) -> None:
    tight = LossConfig(clip_low=1e-6, clip_high=1e-6)
    one = learner_of(model, loss=tight).step(trees(), number=0, num_rollouts=8)
    two = learner_of(model, loss=tight, minibatches=2).step(trees(), number=0, num_rollouts=8)
    assert one["clip_fraction"] == 0
    assert two["clip_fraction"] > 0.1
    assert one["learned_tokens"] == two["learned_tokens"]
    assert two["mismatch"] == pytest.approx(one["mismatch"], rel=1e-5), "of the old weights in both"


def test_prompts_without_a_gradient_count_in_their_minibatch(model: Qwen3ForCausalLM) -> None:
    """Two prompts of two rollouts, one in each of two mini-batches; the second has no gradient."""
    [first, _, *_] = trees()
    half = learner_of(model, minibatches=2).step([first, []], number=0, num_rollouts=4)
    alone = learner_of(model).step([first], number=0, num_rollouts=2)
    assert half["grad_norm"] == pytest.approx(alone["grad_norm"], rel=1e-5)
    together = learner_of(model).step([first, []], number=0, num_rollouts=4)
    assert together["grad_norm"] == pytest.approx(alone["grad_norm"] / 2, rel=1e-5)


def test_mismatched_sampler_is_refused_before_the_optimiser_step(model: Qwen3ForCausalLM) -> None:
    learner = Learner(
        copy.deepcopy(model),
        config=LearnerConfig(),
        loss=LossConfig(),
        pad_id=0,
        max_rollout_tokens=25,
        max_mismatch=1e-3,
    )
    before = weights(learner)
    with pytest.raises(TrainingFailed, match="differ from the trainer's by"):
        learner.step(trees(), number=0, num_rollouts=8)
    assert torch.equal(weights(learner), before)


def test_a_step_without_trees_changes_nothing(model: Qwen3ForCausalLM) -> None:
    learner = learner_of(model)
    before = weights(learner)
    metrics = learner.step([[], []], number=0, num_rollouts=8)
    assert (metrics["loss"], metrics["learned_tokens"]) == (0, 0)
    assert torch.equal(weights(learner), before)


def test_the_learning_rate_rises_and_falls_by_hand() -> None:
    config = LearnerConfig(learning_rate=1.0, warmup_steps=4, final_share=0.2)
    rates = [learning_rate_at(number, number / 10, config) for number in (0, 1, 3, 5, 9)]
    assert rates == pytest.approx([0.25, 0.5 * 0.92, 0.76, 0.6, 0.28])
    constant = LearnerConfig(learning_rate=1.0)
    assert [learning_rate_at(number, number / 10, constant) for number in (0, 9)] == [1, 1]


def test_weights_stay_as_they_were_where_the_loss_is_not_finite(model: Qwen3ForCausalLM) -> None:
    learner = learner_of(model)
    before = weights(learner)
    broken = trees()
    list.__setitem__(broken[0][0].trunk.advantages, -1, float("inf"))  # type: ignore[arg-type]
    with pytest.raises(TrainingFailed, match="in step 7 the loss is"):
        learner.step(broken, number=7, num_rollouts=8)
    assert torch.equal(weights(learner), before)


def test_kl_penalty_keeps_the_model_near_the_reference(model: Qwen3ForCausalLM) -> None:
    away = []
    for coefficient in (0.0, 1000.0):
        learner = Learner(
            copy.deepcopy(model),
            config=LearnerConfig(learning_rate=1e-3),
            loss=LossConfig(kl_coefficient=coefficient),
            pad_id=0,
            max_rollout_tokens=25,
            reference=copy.deepcopy(model),
        )
        away.append([learner.step(trees(), number=n, num_rollouts=8)["kl"] for n in range(10)][-1])
    assert 0 < away[1] < away[0] / 3


def test_results_of_forward_passes_are_in_the_order_of_the_trees(model: Qwen3ForCausalLM) -> None:
    """Packing sorts trees by length; the values are those of each tree by itself, one after the other."""
    learner = learner_of(model, row_tokens=60, micro_batch_tokens=60)
    given = [tree for trees_G in trees() for tree in trees_G]
    alone = [pack([tree], row_tokens=200, pad_id=0) for tree in given]
    with torch.no_grad():
        logprobs_N = torch.cat([token_logprobs(learner.model, rows, backend="sdpa") for rows in alone])
        hidden_NH = torch.cat([hidden_states(learner.model, rows, backend="sdpa") for rows in alone])
    torch.testing.assert_close(learner.logprobs(given), logprobs_N.double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(learner.hidden_states(given), hidden_NH, rtol=0, atol=1e-4)
