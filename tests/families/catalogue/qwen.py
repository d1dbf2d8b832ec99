"""Qwen's models, and MiMo, which has the vocabulary of Qwen2.5."""

from __future__ import annotations

from tests.families.architectures import EXPERTS, LINEAR_ATTENTION, QWEN2, QWEN3, SMALL, Architecture, dense
from tests.families.checkpoint import Checkpoint, Facts, Mode
from tests.families.templates import Template, real
from tests.families.vocabularies import Vocabulary

HEADER = "<|im_start|>assistant\n"
CLOSED = f"{HEADER}<think>\n\n</think>\n\n"
JSON_CALL = '<tool_call>\n{"name": "get_weather", "arguments": '
XML_CALL = "<tool_call>\n<function=get_weather>\n<parameter=city>\nRome"
ENDS = ("<|im_end|>", "<|endoftext|>")
QWEN3_IDS = Vocabulary("qwen3", eos="<|im_end|>", pad="<|endoftext|>", tokenizer_class="Qwen2Tokenizer")
QWEN2_5_IDS = Vocabulary("qwen2_5", eos="<|im_end|>", pad="<|endoftext|>", tokenizer_class="Qwen2Tokenizer")
QWEN3_5_IDS = Vocabulary(
    "qwen3_5",
    eos="<|im_end|>",
    pad="<|endoftext|>",
    special=(
        *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
        *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>"),
        *("<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
    ),
    text=(
        *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
        *("<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>"),
    ),
)
MOE = dense("qwen3_moe", "Qwen3MoeForCausalLM", **EXPERTS)
SWITCH = r"""    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
"""
OPENED = "    {{- '<think>\\n' }}\n"
THINKING = {"temperature": 0.6, "top_p": 0.95, "top_k": 20}

CHECKPOINTS = (
    Checkpoint(
        "qwen3",
        QWEN3_IDS,
        Template("tokenizer", "qwen3"),
        QWEN3,
        Facts(
            default=HEADER,
            start="<think>",
            end="</think>",
            on=Mode({"enable_thinking": True}, HEADER),
            off=Mode({"enable_thinking": False}, CLOSED),
            variables=("enable_thinking",),
            history=("reasoning_content",),
            keeps="tool loop",
            tool_call=JSON_CALL,
            reasoning_parser="qwen3",
            tool_parser="hermes",
            note="/think and /no_think in the last user or system message are trained, the template "
            "ignores them",
        ),
        ENDS,
        THINKING,
    ),
    Checkpoint(
        "qwen3-thinking-2507",
        QWEN3_IDS,
        Template("tokenizer", "qwen3", ((SWITCH, OPENED),), "the generation prompt opens <think>"),
        QWEN3,
        Facts(
            default=f"{HEADER}<think>\n",
            start="<think>",
            end="</think>",
            history=("reasoning_content",),
            keeps="tool loop",
            tool_call=JSON_CALL,
            reasoning_parser="qwen3",
            tool_parser="hermes",
            note="no switch: enable_thinking has no effect",
        ),
        ENDS,
        THINKING,
        recognised_as="qwen3-thinking",
    ),
    Checkpoint(
        "qwen3-instruct-2507",
        QWEN3_IDS,
        Template("tokenizer", "qwen3", ((SWITCH, ""),), "no enable_thinking"),
        QWEN3,
        Facts(
            default=HEADER,
            history=("reasoning_content",),
            keeps="tool loop",
            tool_call=JSON_CALL,
            tool_parser="hermes",
            note="does not think; its vocabulary and template still have <think>",
        ),
        ENDS,
        {"temperature": 0.7, "top_p": 0.8, "top_k": 20},
    ),
    Checkpoint(
        "qwen3-coder",
        QWEN3_IDS,
        real("Qwen3-Coder"),
        MOE,
        Facts(default=HEADER, tool_call=XML_CALL, tool_parser="qwen3_coder", note="does not think"),
        ENDS,
        {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05},
    ),
    Checkpoint(
        "qwq",
        QWEN3_IDS,
        real(
            "Qwen-QwQ-32B",
            ("\n    {%- if not enable_thinking -%}{{- '</think>' -}}{%- endif -%}", ""),
            note="llama.cpp's enable_thinking removed",
        ),
        QWEN2,
        Facts(
            default=f"{HEADER}<think>\n",
            start="<think>",
            end="</think>",
            tool_call=JSON_CALL,
            reasoning_parser="deepseek_r1",
            tool_parser="hermes",
            note="thinking in earlier content is removed; never greedy",
        ),
        ENDS,
        {"temperature": 0.6, "top_p": 0.95, "top_k": 40, "repetition_penalty": 1.0},
        recognised_as="qwen3-thinking",
    ),
    Checkpoint(
        "qwen3-next-thinking",
        QWEN3_IDS,
        Template("tokenizer", "qwen3", ((SWITCH, OPENED),), "the generation prompt opens <think>"),
        Architecture(
            "qwen3_next",
            "Qwen3NextForCausalLM",
            {**SMALL, **EXPERTS, **LINEAR_ATTENTION, "shared_expert_intermediate_size": 64},
        ),
        Facts(
            default=f"{HEADER}<think>\n",
            start="<think>",
            end="</think>",
            history=("reasoning_content",),
            keeps="tool loop",
            tool_call=JSON_CALL,
            reasoning_parser="qwen3",
            tool_parser="hermes",
            note="hybrid attention",
        ),
        ENDS,
        THINKING,
        recognised_as="qwen3-thinking",
    ),
    Checkpoint(
        "qwen3.5",
        QWEN3_5_IDS,
        real("Qwen3.5-4B"),
        Architecture(
            "qwen3_5",
            "Qwen3_5ForConditionalGeneration",
            {**SMALL, **LINEAR_ATTENTION},
            text=("qwen3_5_text", "Qwen3_5ForCausalLM"),
        ),
        Facts(
            default=f"{HEADER}<think>\n",
            start="<think>",
            end="</think>",
            on=Mode({"enable_thinking": True}, f"{HEADER}<think>\n"),
            off=Mode({"enable_thinking": False}, CLOSED),
            variables=("enable_thinking",),
            history=("reasoning_content",),
            keeps="tool loop",
            late_system="refused",
            tool_call=XML_CALL,
            reasoning_parser="qwen3",
            tool_parser="qwen3_coder",
            note="refuses the role developer and messages without a user's; hybrid attention",
        ),
        ENDS,
        {"temperature": 1.0, "top_p": 0.95, "top_k": 20},
        recognised_as="qwen3",
    ),
    Checkpoint(
        "qwen3.6",
        QWEN3_5_IDS,
        real(
            "Qwen3.5-4B",
            (
                "{%- if loop.index0 > ns.last_query_index %}",
                "{%- if (preserve_thinking is defined and preserve_thinking is true)"
                " or loop.index0 > ns.last_query_index %}",
            ),
            note="Qwen3.5's with preserve_thinking",
        ),
        Architecture(
            "qwen3_5",
            "Qwen3_5ForConditionalGeneration",
            {**SMALL, **LINEAR_ATTENTION},
            text=("qwen3_5_text", "Qwen3_5ForCausalLM"),
        ),
        Facts(
            default=f"{HEADER}<think>\n",
            start="<think>",
            end="</think>",
            on=Mode({"enable_thinking": True}, f"{HEADER}<think>\n"),
            off=Mode({"enable_thinking": False}, CLOSED),
            variables=("enable_thinking", "preserve_thinking"),
            history=("reasoning_content",),
            keeps="tool loop",
            late_system="refused",
            tool_call=XML_CALL,
            reasoning_parser="qwen3",
            tool_parser="qwen3_coder",
            note="preserve_thinking=true renders all earlier thinking",
        ),
        ENDS,
        {"temperature": 1.0, "top_p": 0.95, "top_k": 20},
        recognised_as="qwen3",
    ),
    Checkpoint(
        "qwen2.5",
        QWEN2_5_IDS,
        Template("tokenizer", "qwen2_5"),
        QWEN2,
        Facts(
            default=HEADER, tool_call=JSON_CALL, tool_parser="hermes", note="does not think; no <think> token"
        ),
        ENDS,
        {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05},
    ),
    Checkpoint(
        "mimo",
        QWEN3_IDS,
        real("MiMo-VL"),
        Architecture("mimo", "MiMoForCausalLM", SMALL, in_transformers=False),
        Facts(
            default=HEADER,
            start="<think>",
            end="</think>",
            tool_call=JSON_CALL,
            reasoning_parser="mimo",
            tool_parser="hermes",
            note="the template is MiMo-VL's, whose /no_think in the last user message is trained, not "
            "rendered",
        ),
        ENDS,
        {"temperature": 0.6, "top_p": 0.95},
    ),
)
