"""Models under measurement: checkpoints of random weights, and the held-out problems of trained models.

Measurements that ask what serving costs, not what is answered, use random weights. The checkpoints are made
by the code that makes the start of a warm start, so that they are served like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anytime_server.reasoning import Forcing, Manifest
from anytime_server.text.model import Model
from anytime_training.demo.recipe import ModelConfig
from anytime_training.evaluate import held_out_problems, task_of
from anytime_training.tasks import Problem, Task

TRUNCATION, LEAD_IN = "...", "Answer: "
VOCAB_SIZE = 272
"""Bytes, special tokens, and one token for each inserted text, as in a usual vocabulary."""
SHARPNESS = 32
"""Factor on the output embedding of a model that never ends: it then samples no token whose logit is 0."""
RELUCTANCE = 2
"""Factor on the output embedding of tokens that make no answer, in a model that avoids answers. Its greedy
answers begin with such a token in two of three cases."""


def five_million(*, window_tokens: int) -> ModelConfig:
    """The shape of a model of 5 million weights."""
    return ModelConfig(
        hidden_size=256,
        num_layers=6,
        num_heads=8,
        num_key_value_heads=8,
        mlp_size=768,
        window_tokens=window_tokens,
    )


def write_random_model(folder: Path, config: ModelConfig, *, answer_tokens: int, never_ends: bool) -> int:
    """Write a checkpoint with the name `random`.

    Args:
        answer_tokens: maximum number of answer tokens.
        never_ends: the model samples only visible ASCII characters, so that its thinking and its answer end
            only at their limits. Otherwise it samples any token, and prefers those that end a turn, resume
            thinking or are blank.

    Returns:
        The number of weights.
    """
    import torch
    from anytime_training.checkpoint import save_checkpoint
    from anytime_training.demo.model import build_model
    from anytime_training.demo.tokenizer import THINK_END, THINK_START, build_tokenizer

    texts = [LEAD_IN + TRUNCATION] * 2
    tokenizer = build_tokenizer(texts, vocab_size=VOCAB_SIZE, window_tokens=config.window_tokens)
    model = build_model(config, tokenizer, seed=0)
    texts = tokenizer.batch_decode([[number] for number in range(len(tokenizer))])
    is_no_answer = [
        not text.strip() or text in (THINK_START, THINK_END, tokenizer.eos_token) for text in texts
    ]
    with torch.no_grad():
        if never_ends:
            never_end(model, texts)
        else:
            model.lm_head.weight[torch.tensor(is_no_answer)] *= RELUCTANCE
    save_checkpoint(folder, model, tokenizer, random_manifest(answer_tokens=answer_tokens))
    return sum(weights.numel() for weights in model.parameters())


def never_end(model: Any, texts: Sequence[str]) -> None:
    """Have a random model sample only visible ASCII characters.

    Args:
        texts: of each token.
    """
    import torch

    is_visible = [len(text) == 1 and "!" <= text <= "~" for text in texts]
    with torch.no_grad():
        model.lm_head.weight *= SHARPNESS
        model.lm_head.weight[~torch.tensor(is_visible)] = 0


def random_manifest(*, answer_tokens: int) -> Manifest:
    """The manifest of a random model with the tokenizer of the demo models."""
    from anytime_training.demo.tokenizer import THINK_END, THINK_START

    return Manifest(
        name="random",
        think_start=THINK_START,
        think_end=THINK_END,
        truncation=TRUNCATION,
        answer_lead_in=LEAD_IN,
        forcing=Forcing.FORCE,
        answer_tokens=answer_tokens,
    )


def held_out(folder: Path, count: int, *, seed: int) -> tuple[Task[Any], list[Problem]]:
    """The task of a trained checkpoint, and problems that it was not trained on."""
    task = task_of(None, Model.load(folder).manifest, folder=folder)
    return task, held_out_problems(task, count, seed=seed)
