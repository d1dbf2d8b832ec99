"""Warm start: supervised training, from random weights or of a model from a folder, on examples in the format
that is served.

The data of a step follow from the seed and the step's number alone: a resumed run continues exactly as the
uninterrupted run would have.

Dimensions: N learned tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import torch

from anytime_training.checkpoint import TrainingState, resume_state, save_state
from anytime_training.demo.examples import ExampleSource
from anytime_training.demo.recipe import FineTuningRecipe, OptimiserConfig, SupervisedRecipe, WarmstartRecipe
from anytime_training.demo.trainee import new_trainee, trainee_from_folder
from anytime_training.errors import RecipeError, TrainingFailed
from anytime_training.policy import token_logprobs
from anytime_training.progress import METRICS_NAME, JsonLines, ProgressReport
from anytime_training.run import CHECKPOINT_NAME, Run
from anytime_training.tree import PackedRows, Tree, pack


def train_warmstart(recipe: WarmstartRecipe | FineTuningRecipe, run: Run) -> bool:
    """Train the model and leave it in `checkpoint` of the run's folder.

    Returns:
        Whether all steps are done.

    Raises:
        RecipeError: examples do not fit into the model's window, or the recipe's folder cannot be trained.
        UnusableModel: the tokenizer cannot distinguish the reasoning texts.
        TrainingFailed: the loss or its gradient is not finite; the state is damaged; nothing can be saved.
    """
    torch.set_num_threads(recipe.threads)
    trainee = (
        trainee_from_folder(recipe, run) if isinstance(recipe, FineTuningRecipe) else new_trainee(recipe, run)
    )
    model = trainee.network
    optimiser = _optimiser(model, recipe.optimiser)
    state = resume_state(run.folder, model, optimiser) if run.resume else None
    step, seconds_before = (0, 0.0) if state is None else (state.step, state.seconds)
    source = ExampleSource(
        task=recipe.task,
        traces=recipe.trace_source,
        config=recipe.examples,
        tokenizer=trainee.tokenizer.hugging_face,
        reasoning=trainee.reasoning,
        seed=recipe.seed,
    )
    metrics = JsonLines(run.folder / METRICS_NAME, from_step=step)
    progress = ProgressReport(steps=recipe.steps, first_step=step)
    num_parameters = sum(weight.numel() for weight in _trained_weights(model))
    vocabulary_size = len(trainee.tokenizer.hugging_face)
    progress.print_line(f"{num_parameters:,} parameters, {vocabulary_size} tokens in the vocabulary")
    started = saved = time.monotonic()

    def save() -> None:
        seconds = seconds_before + time.monotonic() - started
        trainee.save(run.folder / CHECKPOINT_NAME)
        save_state(
            run.folder,
            TrainingState(
                step=step, model=model.state_dict(), optimiser=optimiser.state_dict(), seconds=seconds
            ),
        )

    with closing(metrics), closing(progress):
        for batch in _batches(source, recipe, from_step=step):
            rows = pack(batch, row_tokens=max(map(len, batch)), pad_id=trainee.pad_id)
            if (longest := int(rows.positions_RT.max()) + 1) > trainee.window_tokens:
                raise RecipeError(f"model.window_tokens: too few; an example has {longest} tokens")
            learning_rate = learning_rate_at(step, steps=recipe.steps, config=recipe.optimiser)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
                logprobs_N = token_logprobs(model, rows, backend="sdpa", chunk_tokens=None)
            loss = weighted_loss(logprobs_N, rows)
            optimiser.zero_grad()
            loss.backward()
            grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.optimiser.max_grad_norm)
            if not (loss.isfinite() and grad_norm.isfinite()):
                raise TrainingFailed(
                    f"in step {step} the loss is {loss.item():.3g} and the norm of its gradient "
                    f"{grad_norm.item():.3g}; try a lower learning rate"
                )
            optimiser.step()

            metrics.write(
                {
                    "step": step,
                    "loss": loss.item(),
                    **_mean_losses(logprobs_N, rows),
                    "learning_rate": learning_rate,
                    "grad_norm": grad_norm.item(),
                    "tokens": int(rows.num_tokens_R.sum()),
                    "seconds": round(seconds_before + time.monotonic() - started, 3),
                }
            )
            step += 1
            progress.step(step, f"loss {loss.item():.3f}")
            is_stopping = run.should_stop()
            if step == recipe.steps or is_stopping or time.monotonic() - saved >= recipe.save_every_s:
                save()
                saved = time.monotonic()
            if is_stopping:
                break
    return step >= recipe.steps


def weighted_loss(logprobs_N: torch.Tensor, rows: PackedRows) -> torch.Tensor:
    """Mean of the negative log-probabilities of the learned tokens, by the weights in place of advantages."""
    weights_N = rows.learned_tokens().advantages_N
    return -(weights_N * logprobs_N).sum() / weights_N.sum()


def _mean_losses(logprobs_N: torch.Tensor, rows: PackedRows) -> dict[str, float]:
    """Unweighted, of the thinking and of the answers."""
    is_answer_N = rows.branch_RT[rows.learned_RT] > 0
    return {
        "thinking_loss": -logprobs_N[~is_answer_N].mean().item(),
        "answer_loss": -logprobs_N[is_answer_N].mean().item(),
    }


def learning_rate_at(step: int, *, steps: int, config: OptimiserConfig) -> float:
    """Linear warm-up to the peak, then half a cosine down to `final_share` of it at the last step."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, steps - 1 - config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return config.learning_rate * (config.final_share + (1 - config.final_share) * cosine)


def _batches(source: ExampleSource, recipe: SupervisedRecipe, *, from_step: int) -> Iterator[list[Tree]]:
    """Batches of the steps from `from_step` on; a thread draws the next pool meanwhile."""

    def draw(pool: int) -> list[list[Tree]]:
        return source.pool(pool, num_batches=recipe.pool_batches, batch_examples=recipe.batch_examples)

    with ThreadPoolExecutor(max_workers=1) as executor:
        first_pool = from_step // recipe.pool_batches
        last_pool = (recipe.steps - 1) // recipe.pool_batches
        upcoming = executor.submit(draw, first_pool)
        for pool in range(first_pool, last_pool + 1):
            batches = upcoming.result()
            if pool < last_pool:
                upcoming = executor.submit(draw, pool + 1)
            for number, batch in enumerate(batches, pool * recipe.pool_batches):
                if from_step <= number < recipe.steps:
                    yield batch


def _trained_weights(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [weight for weight in model.parameters() if weight.requires_grad]


def _optimiser(model: torch.nn.Module, config: OptimiserConfig) -> torch.optim.AdamW:
    matrices = [weight for weight in _trained_weights(model) if weight.ndim > 1]
    vectors = [weight for weight in _trained_weights(model) if weight.ndim <= 1]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        fused=True,
    )
