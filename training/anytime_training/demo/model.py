"""The small Qwen3 model of the warm start: its shape and its random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from anytime_training.demo.recipe import ModelConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def build_model(config: ModelConfig, tokenizer: PreTrainedTokenizerBase, *, seed: int) -> Qwen3ForCausalLM:
    """A model with random weights.

    Input and output embeddings are separate weights: an engine would not update tied ones with new weights.
    """
    torch.manual_seed(seed)
    vocabulary = tokenizer.get_vocab()
    pad_id, eos_id = vocabulary[str(tokenizer.pad_token)], vocabulary[str(tokenizer.eos_token)]
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            intermediate_size=config.mlp_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            max_position_embeddings=config.window_tokens,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            tie_word_embeddings=False,
            use_cache=True,
            initializer_range=config.hidden_size**-0.5 / 2,
            pad_token_id=pad_id,
            eos_token_id=eos_id,
            bos_token_id=None,
        )
    )
    model.generation_config = GenerationConfig(eos_token_id=eos_id, pad_token_id=pad_id)
    return model
