"""Mistral's models, and Nemotron, which has a vocabulary of the same kind."""

from __future__ import annotations

from tests.families.architectures import SMALL, Architecture, dense
from tests.families.checkpoint import Checkpoint, Facts, Mode
from tests.families.templates import own, real
from tests.families.vocabularies import Vocabulary

TEKKEN_NAMES = {
    10: "[IMG]",
    11: "<pad>",
    12: "[IMG_BREAK]",
    13: "[IMG_END]",
    14: "[PREFIX]",
    15: "[MIDDLE]",
    16: "[SUFFIX]",
    17: "[SYSTEM_PROMPT]",
    18: "[/SYSTEM_PROMPT]",
    19: "[TOOL_CONTENT]",
    32: "[ARGS]",
    33: "[CALL_ID]",
}
TEKKEN_IDS = Vocabulary("mistral_nemo", bos="<s>", eos="</s>", pad="<pad>", names=TEKKEN_NAMES, adds_bos=True)
THINKING_IDS = Vocabulary(
    "mistral_nemo",
    bos="<s>",
    eos="</s>",
    pad="<pad>",
    names={**TEKKEN_NAMES, 34: "[THINK]", 35: "[/THINK]"},
    adds_bos=True,
)
NEMOTRON_V2_IDS = Vocabulary(
    "mistral_nemo",
    bos="<s>",
    eos="<SPECIAL_12>",
    names={
        10: "<SPECIAL_10>",
        11: "<SPECIAL_11>",
        12: "<SPECIAL_12>",
        14: "<think>",
        15: "</think>",
        16: "<TOOLCALL>",
        17: "</TOOLCALL>",
    },
    text=("<think>", "</think>", "<TOOLCALL>", "</TOOLCALL>"),
    is_borrowed=True,
)
NEMOTRON_3_IDS = Vocabulary(
    "mistral_nemo",
    bos="<s>",
    eos="<|im_end|>",
    names={
        10: "<|im_start|>",
        11: "<|im_end|>",
        12: "<think>",
        13: "</think>",
        14: "<tool_call>",
        15: "</tool_call>",
        16: "<tool_response>",
        17: "</tool_response>",
    },
    text=("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
    is_borrowed=True,
)
MAMBA = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "ssm_state_size": 16,
    "mamba_num_heads": 4,
    "mamba_head_dim": 32,
    "n_groups": 1,
    "chunk_size": 64,
    "max_position_embeddings": 8192,
}
HEADER = "<|im_start|>assistant\n"
V2_HEADER = "<SPECIAL_11>Assistant\n"

CHECKPOINTS = (
    Checkpoint(
        "magistral",
        THINKING_IDS,
        own("magistral"),
        dense("mistral", "MistralForCausalLM"),
        Facts(
            default="[INST]QQQ[/INST]",
            start="[THINK]",
            end="[/THINK]",
            late_system="rendered",
            tool_call='[TOOL_CALLS]get_weather[ARGS]{"city": "Rome"}',
            reasoning_parser="mistral",
            tool_parser="mistral",
            note="thinks because the default system prompt asks for it; the model ships a Tekken file, "
            "no template; earlier thinking in content chunks of type thinking",
        ),
        ("</s>",),
        {"temperature": 0.7, "top_p": 0.95},
    ),
    Checkpoint(
        "ministral-3-reasoning",
        THINKING_IDS,
        real("mistralai-Ministral-3-14B-Reasoning-2512"),
        Architecture(
            "mistral3",
            "Mistral3ForConditionalGeneration",
            SMALL,
            text=("ministral3", "Ministral3ForCausalLM"),
        ),
        Facts(
            default="[INST]QQQ[/INST]",
            start="[THINK]",
            end="[/THINK]",
            late_system="refused",
            tool_call='[TOOL_CALLS]get_weather[ARGS]{"city": "Rome"}',
            reasoning_parser="mistral",
            tool_parser="mistral",
            note="thinks because the default system prompt asks for it: a system message of one's own "
            "replaces it; refuses two user messages in a row; earlier thinking in content chunks "
            "of type thinking",
        ),
        ("</s>",),
        {"temperature": 1.0, "top_p": 0.95},
        recognised_as="magistral",
    ),
    Checkpoint(
        "devstral",
        TEKKEN_IDS,
        real("unsloth-mistral-Devstral-Small-2507"),
        dense("mistral", "MistralForCausalLM"),
        Facts(
            default="[INST]QQQ[/INST]",
            tool_call='[TOOL_CALLS]get_weather[ARGS]{"city": "Rome"}',
            tool_parser="mistral",
            note="does not think",
        ),
        ("</s>",),
        {"temperature": 0.15},
    ),
    Checkpoint(
        "nemotron-nano-v2",
        NEMOTRON_V2_IDS,
        real("NVIDIA-Nemotron-Nano-v2"),
        Architecture(
            "nemotron_h",
            "NemotronHForCausalLM",
            {**MAMBA, "layers_block_type": ["linear_attention", "full_attention"]},
        ),
        Facts(
            default=f"{V2_HEADER}<think>\n",
            start="<think>",
            end="</think>",
            off_by_text=("system", "/no_think", f"{V2_HEADER}<think></think>"),
            late_system="dropped",
            tool_call='<TOOLCALL>[{"name": "get_weather", "arguments": ',
            reasoning_parser="deepseek_r1",
            note="the last of /think and /no_think in any system or user message decides; they are "
            "taken out; thinking in earlier content is removed; the card names a parser of its "
            "own for tools",
        ),
        ("</s>", "<SPECIAL_11>", "<SPECIAL_12>"),
        {"temperature": 0.6, "top_p": 0.95},
        recognised_as="nemotron",
    ),
    Checkpoint(
        "nemotron-3",
        NEMOTRON_3_IDS,
        real("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"),
        Architecture(
            "nemotron_h",
            "NemotronHForCausalLM",
            {
                **MAMBA,
                # Without its experts: vLLM's CPU build lacks their activation.
                "layers_block_type": ["linear_attention", "full_attention"],
            },
        ),
        Facts(
            default=f"{HEADER}<think>\n",
            start="<think>",
            end="</think>",
            on=Mode({"enable_thinking": True}, f"{HEADER}<think>\n"),
            off=Mode({"enable_thinking": False}, f"{HEADER}<think></think>"),
            variables=("enable_thinking", "truncate_history_thinking"),
            history=("reasoning_content",),
            keeps="tool loop",
            tool_call="<tool_call>\n<function=get_weather>\n<parameter=city>\nRome",
            reasoning_parser="nemotron_v3",
            tool_parser="qwen3_coder",
            note="truncate_history_thinking=false renders all earlier thinking; other messages get "
            "<think></think>",
        ),
        ("</s>", "<|im_end|>"),
        {"temperature": 1.0, "top_p": 1.0},
        recognised_as="nemotron",
    ),
)
