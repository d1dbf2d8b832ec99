"""Write config.json and random weights of two layers in a checkpoint's architecture.

Where transformers has no such architecture, config.json has only a few fields, and there are no weights.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RUN_ON_CPU = {
    "ApertusForCausalLM",
    "Cohere2MoeForCausalLM",
    "Ernie4_5_MoeForCausalLM",
    "DeepseekV3ForCausalLM",
    "Exaone4ForCausalLM",
    "Gemma4ForCausalLM",
    "Glm4MoeForCausalLM",
    "Glm4MoeLiteForCausalLM",
    "GptOssForCausalLM",
    "GraniteForCausalLM",
    "HunYuanMoEV1ForCausalLM",
    "Lfm2MoeForCausalLM",
    "LlamaForCausalLM",
    "Ministral3ForCausalLM",
    "MistralForCausalLM",
    "NemotronHForCausalLM",
    "Olmo3ForCausalLM",
    "Phi3ForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "Qwen3MoeForCausalLM",
    "Qwen3NextForCausalLM",
    "SeedOssForCausalLM",
    "SmolLM3ForCausalLM",
    "SolarOpenForCausalLM",
}
"""Architectures that vLLM 0.32's CPU build runs in their small form."""
NOT_ON_CPU = {
    "DeepseekV32ForCausalLM": "sparse attention is not supported on CPU",
    "HYV3ForCausalLM": "transformers' configuration lacks fields that vLLM reads",
    "LagunaForCausalLM": "experts chosen by a sigmoid without groups: an assertion at the first step",
    "MiniMaxM2ForCausalLM": "experts chosen by a sigmoid without groups: an assertion at the first step",
    "Qwen3_5ForCausalLM": "its module imports torchvision",
}
"""Those that transformers has and that build does not run, and why."""
SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,  # some of vLLM's models have no head otherwise
}
LATENT_ATTENTION: dict[str, Any] = {
    "q_lora_rank": 32,
    "kv_lora_rank": 512,  # with the next, the size that vLLM's kernels take
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 32,
    "v_head_dim": 32,
    "head_dim": 64,
}
ROUTED = {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
GROUPED: dict[str, Any] = {**ROUTED, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
LINEAR_ATTENTION: dict[str, Any] = {
    "head_dim": 64,
    "linear_key_head_dim": 128,  # the sizes that vLLM's kernels take
    "linear_value_head_dim": 128,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "layer_types": ["linear_attention", "full_attention"],
}


@dataclass(frozen=True)
class Architecture:
    """A model type, its class, and the fields that make it small."""

    model_type: str
    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    text: tuple[str, str] | None = None  # model type and class of the language model in one that takes images
    in_transformers: bool = True

    @property
    def language_model(self) -> Architecture:
        """The model without what it has for images."""
        return self if self.text is None else Architecture(*self.text, self.fields)

    @property
    def runs(self) -> bool:
        """Whether the language model has been seen to run on vLLM's CPU build."""
        return self.language_model.name in RUN_ON_CPU

    def runnable(self) -> Architecture:
        """The architecture to run on vLLM's CPU build: the language model, or else a Qwen3."""
        return self.language_model if self.runs else QWEN3


def dense(model_type: str, name: str, **fields: Any) -> Architecture:
    return Architecture(model_type, name, SMALL | fields)


QWEN2 = dense("qwen2", "Qwen2ForCausalLM")
QWEN3 = dense("qwen3", "Qwen3ForCausalLM")
LLAMA = dense("llama", "LlamaForCausalLM")


def write_config(architecture: Architecture, vocabulary_size: int, ends: list[int], folder: Path) -> None:
    """Write config.json, with a vocabulary padded to a multiple of 64 as published models pad theirs."""
    sizes = {
        "vocab_size": -(-vocabulary_size // 64) * 64,
        "eos_token_id": ends[0] if len(ends) == 1 else ends,
    }
    if architecture.in_transformers:
        described = config(architecture, sizes).to_dict()
    else:
        described = {**architecture.fields, **sizes, "model_type": architecture.model_type}
    described |= {"architectures": [architecture.name], "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(described, indent=2, default=str))


def config(architecture: Architecture, sizes: Mapping[str, Any]) -> Any:
    """transformers' configuration of the small model."""
    from transformers import AutoConfig

    logging.getLogger("transformers").setLevel(logging.ERROR)
    if architecture.text is None:
        return AutoConfig.for_model(architecture.model_type, **architecture.fields, **sizes)
    text = AutoConfig.for_model(architecture.text[0], **architecture.fields, **sizes)
    return AutoConfig.for_model(
        architecture.model_type, text_config=text.to_dict(), eos_token_id=sizes["eos_token_id"]
    )


def write_weights(folder: Path) -> None:
    """Write random weights for the folder's config.json, which stays as it is."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    written = (folder / "config.json").read_text()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    (folder / "config.json").write_text(written)
