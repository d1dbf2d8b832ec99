"""A warm start for the task: trains a small model from random weights to think, quickly or slowly.

Writes a checkpoint that can be served, and that `brpo.toml` starts from. A reasoning model needs no warm
start. Examples are truncated on token ids, by the same function that truncates the thinking when serving.

    python -m examples.own_task.warmstart [--steps N] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from anytime_server.reasoning import Manifest, ReasoningFormat
from anytime_training.checkpoint import save_checkpoint
from anytime_training.demo.examples import build_example
from anytime_training.demo.model import build_model
from anytime_training.demo.recipe import ModelConfig, OptimiserConfig
from anytime_training.demo.tokenizer import THINK_END, THINK_START, build_tokenizer, served_tokenizer
from anytime_training.demo.warmstart import learning_rate_at, weighted_loss
from anytime_training.policy import token_logprobs
from anytime_training.tree import Tree, pack
from transformers import PreTrainedTokenizerBase

from examples.own_task.task import SequenceProblem, SequenceTask, quick, slow

SEED = 1
BATCH_EXAMPLES = 32
MODEL = ModelConfig(hidden_size=128, num_layers=2, window_tokens=256)
OPTIMISER = OptimiserConfig(learning_rate=2e-3)
MANIFEST = Manifest(
    name="sequence",
    think_start=THINK_START,
    think_end=THINK_END,
    truncation="...",
    answer_lead_in="Answer: ",
    answer_tokens=4,
    budgets=[4, 8, 12, 48],
    trained="warmstart",
)


def corpus(task: SequenceTask, rng: random.Random) -> Iterator[str]:
    """Texts that the tokenizer is trained on."""
    for _ in range(2_000):
        problem = task.sample(rng)
        yield from (problem.prompt, slow(problem), MANIFEST.truncation, MANIFEST.answer_lead_in)


def example(
    problem: SequenceProblem,
    rng: random.Random,
    tokenizer: PreTrainedTokenizerBase,
    reasoning: ReasoningFormat,
) -> Tree:
    """A training example: the problem, thinking, and the answer after all of it and after a part of it."""
    message = {"role": "user", "content": problem.prompt}
    prompt = tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    assert isinstance(prompt, str)
    prompt_ids, thinking_ids, answer_ids = tokenizer(
        [prompt, rng.choice((quick, slow))(problem), f"{problem.answer}{tokenizer.eos_token}"],
        add_special_tokens=False,
    )["input_ids"]
    thinking_ids.extend(reasoning.think_end_ids)
    return build_example(
        prompt_ids=prompt_ids,
        thinking_ids=thinking_ids,
        thinking_weights=[1.0] * len(thinking_ids),
        answers=[(length, answer_ids) for length in (len(thinking_ids), rng.randrange(len(thinking_ids)))],
        answer_weight=4.0,
        reasoning=reasoning,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Train a model that continues sequences, from random weights."
    )
    parser.add_argument("--steps", type=int, default=1500, help="default: %(default)s")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/sequence-warmstart"), help="default: %(default)s"
    )
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    rng = random.Random(SEED)
    task = SequenceTask()
    tokenizer = build_tokenizer(corpus(task, rng), vocab_size=384, window_tokens=MODEL.window_tokens)
    reasoning = ReasoningFormat.from_texts(MANIFEST.texts, served_tokenizer(tokenizer))
    model = build_model(MODEL, tokenizer, seed=SEED)
    optimiser = torch.optim.AdamW(model.parameters(), betas=(OPTIMISER.beta1, OPTIMISER.beta2))
    for step in range(arguments.steps):
        batch = [example(task.sample(rng), rng, tokenizer, reasoning) for _ in range(BATCH_EXAMPLES)]
        rows = pack(
            batch, row_tokens=max(map(len, batch)), pad_id=tokenizer.get_vocab()[str(tokenizer.pad_token)]
        )
        loss = weighted_loss(token_logprobs(model, rows, backend="sdpa"), rows)
        optimiser.param_groups[0]["lr"] = learning_rate_at(step, steps=arguments.steps, config=OPTIMISER)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIMISER.max_grad_norm)
        optimiser.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)
    examples = [task.sample(rng, "test").prompt for _ in range(8)]
    save_checkpoint(
        arguments.out / "checkpoint", model, tokenizer, MANIFEST.model_copy(update={"examples": examples})
    )
    print(f"the checkpoint is in {arguments.out / 'checkpoint'}")


if __name__ == "__main__":
    main()
