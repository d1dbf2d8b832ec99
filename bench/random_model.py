"""Checkpoints of random weights, for benches that ask what serving costs and not what is said.

Made by the code that warm starts begin with, so that they are served like any other.
"""

from __future__ import annotations

from pathlib import Path

from anytime_server.reasoning import Manifest
from anytime_training.demo.recipe import ModelConfig

TRUNCATION, LEAD_IN = "...", "Answer: "
VOCAB_SIZE = 272
"""Bytes, special tokens, and one token for each text that is put in at a cut, as in a usual vocabulary."""
SHARPNESS = 32
"""Factor on the output embedding of a model that never ends: sampling then keeps clear of logits of 0."""
RELUCTANCE = 2
"""Factor on that of all that makes no answer, in a model that would rather not give one: greedy, it then
begins about two answers of three with such a token."""


def write_random_model(folder: Path, config: ModelConfig, *, answer_tokens: int, never_ends: bool) -> int:
    """Write a checkpoint that is called `random`.

    Args:
        answer_tokens: room for an answer.
        never_ends: whether it samples letters, digits and signs alone, and so ends neither its thinking nor
            its answer before there is no room for more. Otherwise it samples any token at all, and rather
            those that end a turn, think on, or are blank.

    Returns:
        How many weights it has.
    """
    import torch
    from anytime_training.checkpoint import save_checkpoint
    from anytime_training.demo.model import build_model
    from anytime_training.demo.tokenizer import THINK_END, THINK_START, build_tokenizer

    texts = [LEAD_IN + TRUNCATION] * 2
    tokenizer = build_tokenizer(texts, vocab_size=VOCAB_SIZE, window_tokens=config.window_tokens)
    model = build_model(config, tokenizer, seed=0)
    texts = tokenizer.batch_decode([[number] for number in range(len(tokenizer))])
    is_said = [len(text) == 1 and "!" <= text <= "~" for text in texts]
    makes_none = [not text.strip() or text in (THINK_START, THINK_END, tokenizer.eos_token) for text in texts]
    with torch.no_grad():
        if never_ends:
            model.lm_head.weight *= SHARPNESS
            model.lm_head.weight[~torch.tensor(is_said)] = 0
        else:
            model.lm_head.weight[torch.tensor(makes_none)] *= RELUCTANCE
    manifest = Manifest(
        name="random",
        think_start=THINK_START,
        think_end=THINK_END,
        truncation=TRUNCATION,
        answer_lead_in=LEAD_IN,
        answer_tokens=answer_tokens,
    )
    save_checkpoint(folder, model, tokenizer, manifest)
    return sum(weights.numel() for weights in model.parameters())
