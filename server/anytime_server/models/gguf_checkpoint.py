"""Converts a GGUF file of the Llama architecture to the tensors, configuration and tokenizer of Hugging Face.

Owns the format: names and order of tensors, quantisation, byte-level BPE. Knows nothing of thinking.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anytime_server.errors import UnusableModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer
    from transformers import LlamaConfig

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Hugging Face's name of each GGUF tensor, without the layer and `.weight`."""
TENSOR = re.compile(r"(?:blk\.(?P<layer>\d+)\.)?(?P<part>\w+)\.weight")
CONTROL_TOKEN = 3
"""GGUF's type of a special token."""


class GgufCheckpoint:
    """A GGUF file of a Llama model with a byte-level BPE tokenizer whose digits are tokens of their own."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            UnusableModel: the file is damaged, or of another kind.
        """
        import gguf

        try:
            self._reader = gguf.GGUFReader(path)
        except (OSError, ValueError, IndexError) as error:
            raise UnusableModel(f"{path} is no complete GGUF file: {error}") from error
        for key, wanted in (
            ("general.architecture", "llama"),
            ("tokenizer.ggml.model", "gpt2"),
            ("tokenizer.ggml.pre", "smollm"),
        ):
            if (found := self.value(key)) != wanted:
                raise UnusableModel(f"{path}: {key} is {found!r}; only {wanted!r} can be converted")

    def value(self, key: str) -> Any:
        """A value of the file's header; None if it is not there."""
        field = self._reader.get_field(key)
        return None if field is None else field.contents()

    def config(self) -> LlamaConfig:
        """The model's shape, and its special tokens."""
        from transformers import LlamaConfig

        def number(key: str) -> Any:
            return self.value(f"llama.{key}")

        num_heads, hidden_size = number("attention.head_count"), number("embedding_length")
        return LlamaConfig(
            vocab_size=len(self.value("tokenizer.ggml.tokens")),
            hidden_size=hidden_size,
            intermediate_size=number("feed_forward_length"),
            num_hidden_layers=number("block_count"),
            num_attention_heads=num_heads,
            num_key_value_heads=number("attention.head_count_kv"),
            head_dim=hidden_size // num_heads,
            max_position_embeddings=number("context_length"),
            rms_norm_eps=round(number("attention.layer_norm_rms_epsilon"), 9),  # stored in 32 bits
            rope_parameters={"rope_type": "default", "rope_theta": number("rope.freq_base")},
            tie_word_embeddings=all(tensor.name != "output.weight" for tensor in self._reader.tensors),
            bos_token_id=self.value("tokenizer.ggml.bos_token_id"),
            eos_token_id=self.value("tokenizer.ggml.eos_token_id"),
            pad_token_id=self.value("tokenizer.ggml.padding_token_id"),
        )

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """All weights in float32, by Hugging Face's names.

        Raises:
            UnusableModel: a tensor is unknown.
        """
        from gguf.quants import dequantize

        num_heads = {
            "attn_q": self.value("llama.attention.head_count"),
            "attn_k": self.value("llama.attention.head_count_kv"),
        }
        tensors: dict[str, NDArray[np.float32]] = {}
        for tensor in self._reader.tensors:
            found = TENSOR.fullmatch(tensor.name)
            if found is None or found["part"] not in NAMES:
                raise UnusableModel(f"the GGUF file has a tensor {tensor.name}, which is unknown")
            weights = dequantize(tensor.data, tensor.tensor_type).copy()  # not a view of the file
            if found["part"] in num_heads:
                weights = _halves_apart(weights, num_heads[found["part"]])
            layer = "" if found["layer"] is None else f"model.layers.{found['layer']}."
            tensors[f"{layer}{NAMES[found['part']]}.weight"] = weights
        return tensors

    def tokenizer(self) -> Tokenizer:
        """The byte-level BPE tokenizer with its special tokens."""
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

        tokens: list[str] = self.value("tokenizer.ggml.tokens")
        merges = [tuple(merge.split(" ")) for merge in self.value("tokenizer.ggml.merges")]
        vocabulary = {token: token_id for token_id, token in enumerate(tokens)}
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        types: list[int] = self.value("tokenizer.ggml.token_type")
        tokenizer.add_special_tokens(
            [
                AddedToken(token, special=True, normalized=False)
                for token, kind in zip(tokens, types, strict=True)
                if kind == CONTROL_TOKEN
            ]
        )
        return tokenizer


def _halves_apart(weights: NDArray[np.float32], num_heads: int) -> NDArray[np.float32]:
    """Reorder the rows of each head: GGUF rotates neighbours, Hugging Face rows half a head apart."""
    rows, columns = weights.shape
    pairs = weights.reshape(num_heads, rows // num_heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)
