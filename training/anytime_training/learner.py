"""The learner: optimiser steps over trees of tokens with advantages.

Knows no algorithm, no rewards and no engine: it minimises `policy_loss` on packed rows.

Dimensions: P prompts, G rollouts per prompt, R rows, N learned tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from anytime_training.config.brpo import LearnerConfig
from anytime_training.config.loss import LossConfig
from anytime_training.errors import TrainingFailed
from anytime_training.loss import merge_statistics, policy_loss
from anytime_training.policy import FLEX_BLOCK_TOKENS, hidden_states, token_logprobs
from anytime_training.tree import PackedRows, Tree, numbered, pack


class Learner:
    """A model with its optimiser."""

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        config: LearnerConfig,
        loss: LossConfig,
        pad_id: int,
        max_rollout_tokens: int,
        max_mismatch: float = float("inf"),
        reference: PreTrainedModel | None = None,
    ) -> None:
        """
        Args:
            model: in float32, on its device, with the attention implementation of the backend.
            pad_id: any id of the vocabulary.
            max_rollout_tokens: the most sampled tokens of thinking and one answer: the constant that the sum
                over tokens is divided by, for each rollout.
            max_mismatch: mean difference, in nats, between the sampler's log-probabilities and the
                model's above which the step fails.
            reference: the reference model of the KL penalty, where `loss.kl_coefficient` is above 0.
        """
        self.model = model
        self.optimiser = torch.optim.AdamW(
            model.parameters(),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
        )
        self._config = config
        self._loss = loss
        self._pad_id = pad_id
        self._max_rollout_tokens = max_rollout_tokens
        self._max_mismatch = max_mismatch
        self._reference = reference
        self._device = next(model.parameters()).device

    def step(
        self,
        trees_PG: Sequence[Sequence[Tree]],
        *,
        number: int,
        num_rollouts: int,
        progress: float = 0.0,
    ) -> dict[str, float]:
        """Take an optimiser step for each mini-batch of a step's trees.

        Args:
            trees_PG: trees of each prompt; those without a gradient may be left out.
            number: number of the step, from 0, for the warm-up.
            num_rollouts: rollouts of all prompts, including those that were left out.
            progress: share of the run that is done, for the decay of the learning rate.

        Returns:
            Metrics: means over the learned tokens, and norms.

        Raises:
            TrainingFailed: the loss or its gradient is not finite, or the sampler's log-probabilities are
                another model's. The weights are those from before the failing mini-batch.
        """
        learning_rate = learning_rate_at(number, progress, self._config)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        minibatches = self._minibatches(trees_PG)
        is_on_policy = len(minibatches) == 1
        rollouts_per_prompt = num_rollouts / len(trees_PG)
        old = None if is_on_policy else [self._logprobs_of(self.model, batches) for _, batches in minibatches]
        reference = (
            None
            if self._reference is None
            else [self._logprobs_of(self._reference, batches) for _, batches in minibatches]
        )
        statistics: list[dict[str, torch.Tensor]] = []
        grad_norms: list[float] = []
        total_loss = 0.0
        for index, (num_prompts, batches) in enumerate(minibatches):
            self.optimiser.zero_grad()
            of_minibatch: list[dict[str, torch.Tensor]] = []
            for position, rows in enumerate(batches):
                logprobs_N = self._logprobs(self.model, rows)
                loss, of_batch = policy_loss(
                    logprobs_N,
                    logprobs_N.detach() if old is None else old[index][position],
                    rows.learned_tokens(),
                    config=self._loss,
                    normaliser=rollouts_per_prompt * num_prompts * self._max_rollout_tokens,
                    reference_logprobs_N=None if reference is None else reference[index][position],
                )
                loss.backward()
                total_loss += loss.item() / self._config.minibatches
                of_minibatch.append(of_batch)
            grad_norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._loss.max_grad_norm)
            grad_norms.append(grad_norm.item())
            if not (grad_norm.isfinite() and torch.tensor(total_loss).isfinite()):
                raise TrainingFailed(
                    f"in step {number} the loss is {total_loss:.3g} and the norm of its gradient "
                    f"{grad_norm.item():.3g}"
                )
            self._require_match(of_minibatch, step=number)
            self.optimiser.step()
            statistics += of_minibatch
        return {
            "loss": total_loss,
            "grad_norm": sum(grad_norms) / max(1, len(grad_norms)),
            "learning_rate": learning_rate,
            **_means(merge_statistics(statistics)),
            "packed_tokens": sum(
                int(rows.num_tokens_R.sum()) for _, batches in minibatches for rows in batches
            ),
        }

    @torch.no_grad()
    def logprobs(self, trees: Sequence[Tree]) -> torch.Tensor:
        """Log-probabilities of the learned tokens, in the order of `numbered`: logprobs_N, float64."""
        batches, numbers_N = self._numbered(trees)
        values = [self._logprobs(self.model, rows).double().cpu() for rows in batches]
        return _in_order(values, numbers_N)

    @torch.no_grad()
    def hidden_states(self, trees: Sequence[Tree]) -> torch.Tensor:
        """The last hidden states from which the learned tokens are predicted, in the order of `numbered`.

        Returns:
            hidden_NH, float32, on the CPU.
        """
        batches, numbers_N = self._numbered(trees)
        values: list[torch.Tensor] = []
        for rows in batches:
            with self._autocast():
                hidden_NH = hidden_states(self.model, rows, backend=self._config.attention)
            values.append(hidden_NH.float().cpu())
        return _in_order(values, numbers_N)

    def _numbered(self, trees: Sequence[Tree]) -> tuple[list[PackedRows], torch.Tensor]:
        """Micro-batches, and the number of each of their learned tokens."""
        batches = self._packed(numbered(trees))
        return batches, torch.cat([rows.learned_tokens().advantages_N for rows in batches]).long().cpu()

    def _minibatches(self, trees_PG: Sequence[Sequence[Tree]]) -> list[tuple[int, list[PackedRows]]]:
        """Number of prompts and micro-batches of each mini-batch that has a tree."""
        minibatches: list[tuple[int, list[PackedRows]]] = []
        for first in range(self._config.minibatches):
            own_PG = trees_PG[first :: self._config.minibatches]
            trees = [tree for trees_G in own_PG for tree in trees_G]
            if not trees:
                continue
            minibatches.append((len(own_PG), self._packed(trees)))
        return minibatches

    def _packed(self, trees: Sequence[Tree]) -> list[PackedRows]:
        """Micro-batches of trees, on the model's device."""
        rows = pack(
            trees,
            row_tokens=self._config.row_tokens,
            pad_id=self._pad_id,
            multiple_of=FLEX_BLOCK_TOKENS if self._config.attention == "flex" else 1,
        )
        return [batch.to(self._device) for batch in rows.micro_batches(self._config.micro_batch_tokens)]

    def _require_match(self, statistics: list[dict[str, torch.Tensor]], *, step: int) -> None:
        mismatch = _means(merge_statistics(statistics))["mismatch"]
        if not mismatch <= self._max_mismatch:
            raise TrainingFailed(
                f"in step {step} the engine's log-probabilities differ from the trainer's by "
                f"{mismatch:.3g} nats on average, more than engine.max_mismatch of {self._max_mismatch:g}"
            )

    def _logprobs(self, model: PreTrainedModel, rows: PackedRows) -> torch.Tensor:
        with self._autocast():
            return token_logprobs(model, rows, backend=self._config.attention)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._config.bf16)

    @torch.no_grad()
    def _logprobs_of(self, model: PreTrainedModel, batches: list[PackedRows]) -> list[torch.Tensor]:
        return [self._logprobs(model, rows) for rows in batches]


def learning_rate_at(number: int, progress: float, config: LearnerConfig) -> float:
    """Linear warm-up by the step's number, times a linear decay by the share of the run that is done."""
    warmup = min(1.0, (number + 1) / config.warmup_steps)
    return config.learning_rate * warmup * (1 - (1 - config.final_share) * progress)


def _in_order(values: Sequence[torch.Tensor], numbers_N: torch.Tensor) -> torch.Tensor:
    """Values of numbered tokens, in the order of their numbers."""
    together = torch.cat(list(values))
    ordered = torch.empty_like(together)
    ordered[numbers_N] = together
    return ordered


def _means(statistics: dict[str, torch.Tensor]) -> dict[str, float]:
    """Shares and means over the learned tokens."""
    if not statistics:
        return {"learned_tokens": 0}
    sums = {name: value.item() for name, value in statistics.items()}
    num_tokens = max(1.0, sums["num_tokens"])
    return {
        "learned_tokens": int(sums["num_tokens"]),
        "clip_fraction": sums["num_clipped"] / num_tokens,
        "mismatch": sums["sum_abs_mismatch"] / num_tokens,
        "mismatch_max": sums["max_abs_mismatch"],
        "mismatch_kl": sums["sum_mismatch_k3"] / num_tokens,
        "importance_weight": sums["sum_importance_weight"] / num_tokens,
        "importance_truncated": sums["num_truncated"] / num_tokens,
        "kl": sums["sum_kl"] / num_tokens,
    }
