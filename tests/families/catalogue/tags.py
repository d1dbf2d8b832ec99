"""Large mixtures of experts with one pair of thinking tags: GLM, Kimi-K2, MiniMax, Ling, Step, Laguna.

None of their vocabularies is to be had: they borrow Llama 3.1's.
"""

from __future__ import annotations

from tests.families.architectures import EXPERTS, GROUPED, LATENT_ATTENTION, SMALL, Architecture
from tests.families.catalogue.deepseek import V3_FIELDS
from tests.families.checkpoint import Checkpoint, Facts, Mode
from tests.families.templates import real
from tests.families.vocabularies import Vocabulary

THINK = ("<think>", "</think>")
CALL = ("<tool_call>", "</tool_call>")
GLM_CALL = ("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<tool_response>", "</tool_response>")
GLM_IDS = Vocabulary(
    "llama3_1",
    eos="<|endoftext|>",
    special=(
        *("<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
        *("/nothink",),
    ),
    text=(*THINK, *CALL, *GLM_CALL),
    is_borrowed=True,
)
GLM_ENDS = ("<|endoftext|>", "<|user|>", "<|observation|>")
KIMI_IDS_OF_CALLS = (
    (
        "{%- set formatted_id = 'functions.' + tool_call['function']['name']"
        " + ':' + (tool_call_counter.value | string) -%}",
        "{%- set formatted_id = tool_call['id'] -%}",
    ),
    ("    {%- set tool_call_counter.value = tool_call_counter.value + 1 -%}\n", ""),
    ("    {%- set _ = tool_response_queue.ids.append(formatted_id) -%}\n", ""),
    (
        "    {%- if tool_response_queue.ids -%}\n"
        "      {%- set tool_call_id = tool_response_queue.ids.pop(0) -%}\n"
        "    {%- else -%}\n"
        "      {%- set tool_call_id = 'functions.' + message.get('name', 'unknown')"
        " + ':' + (tool_call_counter.value | string) -%}\n"
        "    {%- endif -%}\n",
        "    {%- set tool_call_id = message.get('tool_call_id') -%}\n",
    ),
)
KIMI = Architecture(
    "kimi_k2",
    "DeepseekV3ForCausalLM",
    V3_FIELDS,
    text=("deepseek_v3", "DeepseekV3ForCausalLM"),  # the same under a model type that transformers knows
    in_transformers=False,
)
KIMI_HEADER = "<|im_assistant|>assistant<|im_middle|>"
KIMI_IDS = Vocabulary(
    "llama3_1",
    bos="[BOS]",
    eos="<|im_end|>",
    pad="[PAD]",
    special=(
        *("[BOS]", "[EOS]", "[PAD]", "<|im_end|>", "<|im_user|>", "<|im_assistant|>", "<|im_system|>"),
        *(
            "<|im_middle|>",
            "<|tool_calls_section_begin|>",
            "<|tool_calls_section_end|>",
            "<|tool_call_begin|>",
        ),
        *("<|tool_call_argument_begin|>", "<|tool_call_end|>", "<|media_start|>", "<|media_end|>"),
    ),
    text=THINK,
    is_borrowed=True,
)

CHECKPOINTS = (
    Checkpoint(
        "glm-4.6",
        GLM_IDS,
        real("GLM-4.6"),
        Architecture("glm4_moe", "Glm4MoeForCausalLM", {**SMALL, **GROUPED}),
        Facts(
            default="<|assistant|>",
            start="\n<think>",
            end="</think>",
            on=Mode({"enable_thinking": True}, "<|assistant|>"),
            off=Mode({"enable_thinking": False}, "/nothink<|assistant|>\n<think></think>"),
            variables=("enable_thinking",),
            history=("reasoning_content",),
            keeps="tool loop",
            tool_call="<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>",
            reasoning_parser="glm45",
            tool_parser="glm45",
            note="off writes /nothink after every user message; other assistant messages get <think></think>",
        ),
        GLM_ENDS,
        {"temperature": 1.0, "top_p": 0.95},
        recognised_as="glm-4.5",
    ),
    Checkpoint(
        "glm-4.7-flash",
        GLM_IDS,
        real("GLM-4.7-Flash"),
        Architecture(
            "glm4_moe_lite",
            "Glm4MoeLiteForCausalLM",
            {**SMALL, **GROUPED, **LATENT_ATTENTION, "topk_method": "noaux_tc"},
        ),
        Facts(
            default="<|assistant|><think>",
            start="<think>",
            end="</think>",
            on=Mode({"enable_thinking": True}, "<|assistant|><think>"),
            off=Mode({"enable_thinking": False}, "<|assistant|></think>"),
            variables=("enable_thinking", "clear_thinking"),
            history=("reasoning_content",),
            keeps="tool loop",
            tool_call="<tool_call>get_weather<arg_key>city</arg_key><arg_value>Rome</arg_value></tool_call>",
            reasoning_parser="glm47",
            tool_parser="glm47",
            note="off writes </think> alone; clear_thinking=false renders all earlier thinking",
        ),
        GLM_ENDS,
        {"temperature": 1.0, "top_p": 0.95},
        recognised_as="glm-4.5",
    ),
    Checkpoint(
        "kimi-k2-thinking",
        KIMI_IDS,
        real("Kimi-K2-Thinking", *KIMI_IDS_OF_CALLS, note="llama.cpp's renumbering of tool calls removed"),
        KIMI,
        Facts(
            default=KIMI_HEADER,
            start="<think>",
            end="</think>",
            history=("reasoning_content",),
            keeps="tool loop",
            tool_call="<|tool_calls_section_begin|><|tool_call_begin|>",
            reasoning_parser="kimi_k2",
            tool_parser="kimi_k2",
            note="no switch; thinking is kept after the last answer without tool calls, dropped before; "
            "<|tool_calls_section_begin|> ends thinking too; the model's tokenizer is its own Python code",
        ),
        ("<|im_end|>",),
        {"temperature": 1.0},
    ),
    Checkpoint(
        "kimi-k2-instruct",
        KIMI_IDS,
        real("moonshotai-Kimi-K2"),
        KIMI,
        Facts(
            default=KIMI_HEADER,
            tool_call="<|tool_calls_section_begin|><|tool_call_begin|>",
            tool_parser="kimi_k2",
            note="does not think",
        ),
        ("<|im_end|>",),
        {"temperature": 0.6},
    ),
    Checkpoint(
        "minimax-m2",
        Vocabulary(
            "llama3_1",
            bos="]~!b[",
            eos="[e~[",
            special=("]~!b[", "]~b]", "[e~["),
            text=(*THINK, "<minimax:tool_call>", "</minimax:tool_call>"),
            is_borrowed=True,
        ),
        real("MiniMax-M2"),
        Architecture(
            "minimax_m2",
            "MiniMaxM2ForCausalLM",
            {
                "scoring_func": "sigmoid",
                "use_routing_bias": True,
                **SMALL,
                "intermediate_size": 64,
                "num_local_experts": 4,
                "num_experts_per_tok": 2,
                "rotary_dim": 16,
            },
        ),
        Facts(
            default="]~b]ai\n<think>\n",
            start="<think>",
            end="</think>",
            history=("reasoning_content",),
            keeps="tool loop",
            late_system="dropped",
            tool_call='<minimax:tool_call>\n<invoke name="get_weather">',
            reasoning_parser="minimax_m2",
            tool_parser="minimax_m2",
            note="no switch; thinks again after each tool result; raises on a tool's result without a call",
        ),
        ("[e~[",),
        {"temperature": 1.0, "top_p": 0.95, "top_k": 40},
    ),
    Checkpoint(
        "minimax-m3",
        Vocabulary(
            "llama3_1",
            bos="]~!b[",
            eos="[e~[",
            special=("]~!b[", "]~b]", "[e~["),
            text=("<mm:think>", "</mm:think>", "]<]minimax[>["),
            is_borrowed=True,
        ),
        real("MiniMax-M3"),
        Architecture(
            "minimax_m3_vl", "MiniMaxM3SparseForConditionalGeneration", SMALL, in_transformers=False
        ),
        Facts(
            default="]~b]ai\n",
            start="<mm:think>",
            end="</mm:think>",
            on=Mode({"thinking_mode": "enabled"}, "]~b]ai\n<mm:think>"),
            off=Mode({"thinking_mode": "disabled"}, "]~b]ai\n</mm:think>"),
            variables=("thinking_mode",),
            history=("reasoning_content",),
            keeps="always",
            late_system="dropped",
            tool_call=']<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name="get_weather">',
            reasoning_parser="minimax_m3",
            tool_parser="minimax_m3",
            note="thinking_mode adaptive by default: the model decides; off writes </mm:think> alone",
        ),
        ("[e~[",),
        {"temperature": 1.0, "top_p": 0.95, "top_k": 40},
    ),
    Checkpoint(
        "ling-3",
        Vocabulary(
            "llama3_1",
            bos="<|startoftext|>",
            eos="<|role_end|>",
            special=("<|startoftext|>", "<|endoftext|>", "<role>", "</role>", "<|role_end|>"),
            text=(*THINK, *CALL, *GLM_CALL),
            is_borrowed=True,
        ),
        real("inclusionai-ling-3.0-flash"),
        Architecture("bailing_moe_v3", "BailingMoeV3ForCausalLM", SMALL, in_transformers=False),
        Facts(
            default="<role>ASSISTANT</role>\n<think>",
            start="<think>",
            end="</think>",
            on=Mode({"enable_thinking": True}, "<role>ASSISTANT</role>\n<think>"),
            off=Mode({"enable_thinking": False}, "<role>ASSISTANT</role>\n<think></think>"),
            variables=("enable_thinking", "thinking_option"),
            history=("reasoning_content",),
            keeps="always",
            tool_call="<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>",
            reasoning_parser="ling3",
            tool_parser="ling3",
            note="`detailed thinking on` or `off` stands in the system message; the text alone does "
            "not change the generation prompt",
        ),
        ("<|role_end|>", "<|endoftext|>"),
    ),
    Checkpoint(
        "step-3.5",
        Vocabulary(
            "llama3_1",
            bos="<｜begin▁of▁sentence｜>",
            eos="<|im_end|>",
            special=("<｜begin▁of▁sentence｜>", "<|im_start|>", "<|im_end|>"),
            text=(*THINK, *CALL),
            is_borrowed=True,
        ),
        real("StepFun3.5-Flash"),
        Architecture("step3p5", "Step3p5ForCausalLM", SMALL, in_transformers=False),
        Facts(
            default="<|im_start|>assistant\n<think>\n",
            start="<think>",
            end="</think>",
            history=("reasoning_content",),
            keeps="tool loop",
            tool_call="<tool_call>\n<function=get_weather>\n<parameter=city>\nRome",
            reasoning_parser="step3p5",
            tool_parser="step3p5",
            note="no switch; tool results in turns of the role tool_response",
        ),
        ("<|im_end|>",),
        {"temperature": 1.0, "top_p": 0.95},
        recognised_as="step-3",
    ),
    Checkpoint(
        "laguna",
        Vocabulary(
            "llama3_1",
            eos="</assistant>",
            special=("<system>", "</system>", "<user>", "</user>", "<assistant>", "</assistant>"),
            text=(*THINK, *CALL, *GLM_CALL),
            is_borrowed=True,
        ),
        real("poolside-Laguna-S-2.1"),
        Architecture(
            "laguna",
            "LagunaForCausalLM",
            {
                **SMALL,
                **EXPERTS,
                "shared_expert_intermediate_size": 64,
                "num_attention_heads_per_layer": [2, 2],
            },
        ),
        Facts(
            default="<assistant><think>",
            start="<think>",
            end="</think>",
            on=Mode({"enable_thinking": True}, "<assistant><think>"),
            off=Mode({"enable_thinking": False}, "<assistant></think>"),
            variables=("enable_thinking", "preserve_thinking"),
            history=("reasoning", "reasoning_content"),
            keeps="always",
            tool_call="<tool_call>get_weather<arg_key>city</arg_key><arg_value>Rome</arg_value></tool_call>",
            reasoning_parser="poolside_v1",
            tool_parser="poolside_v1",
            note="off writes </think> alone",
        ),
        ("</assistant>",),
    ),
)
