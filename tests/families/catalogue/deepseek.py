"""DeepSeek's models and the distilled R1 models."""

from __future__ import annotations

from dataclasses import replace

from tests.families.architectures import GROUPED, LATENT_ATTENTION, LLAMA, QWEN2, SMALL, Architecture
from tests.families.checkpoint import Checkpoint, Facts, Mode
from tests.families.templates import real
from tests.families.vocabularies import Vocabulary

BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
HEADER = "<｜Assistant｜>"
MARKERS = ("<think>", "</think>", "<｜User｜>", "<｜Assistant｜>")
THINK = ("<think>", "</think>")
R1_SAMPLING = {"temperature": 0.6, "top_p": 0.95}
R1_SWITCH = ("{% if not enable_thinking %}{{- '</think>' -}}{% endif %}", "")
R1_NOTE = "llama.cpp's enable_thinking removed"
R1 = Facts(
    default=f"{HEADER}<think>\n",
    start="<think>",
    end="</think>",
    late_system="merged",
    tool_call="<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather",
    reasoning_parser="deepseek_r1",
    tool_parser="deepseek_v3",
    note="the last system message replaces the first; no generation prompt after a tool's result; "
    "thinking in earlier content is removed; the card advises against a system prompt",
)
V3_FIELDS = {**SMALL, **LATENT_ATTENTION, **GROUPED, "topk_method": "noaux_tc", "scoring_func": "sigmoid"}
V3_NAMES = {128798: "<think>", 128799: "</think>"}
V3_IDS = Vocabulary(
    "deepseek_v3",
    bos=BOS,
    eos=EOS,
    names=V3_NAMES,
    text=THINK,
    adds_bos=True,
    tokenizer_class="LlamaTokenizerFast",
)
V4_IDS = Vocabulary("deepseek_v4", bos=BOS, eos=EOS, adds_bos=True)
V31_SWITCH = """{%- if not thinking is defined -%}
  {%- if enable_thinking is defined -%}
    {%- set thinking = enable_thinking -%}
    {%- else -%}
    {%- set thinking = false -%}
  {%- endif -%}
{%- endif -%}"""
V31_DEFAULT = """{%- if not thinking is defined -%}
  {%- set thinking = false -%}
{%- endif -%}"""

CHECKPOINTS = (
    Checkpoint(
        "deepseek-r1-distill-qwen",
        Vocabulary(
            "qwen2_5",
            bos=BOS,
            eos=EOS,
            names={
                151643: EOS,
                151644: "<｜User｜>",
                151645: "<｜Assistant｜>",
                151646: BOS,
                151647: "<|EOT|>",
                151648: "<think>",
                151649: "</think>",
            },
            text=MARKERS,
            tokenizer_class="LlamaTokenizerFast",
        ),
        real("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", R1_SWITCH, note=R1_NOTE),
        QWEN2,
        R1,
        (EOS,),
        R1_SAMPLING,
        recognised_as="deepseek-r1",
    ),
    Checkpoint(
        "deepseek-r1-distill-llama",
        Vocabulary(
            "llama3_1",
            bos=BOS,
            eos=EOS,
            names={
                128000: BOS,
                128001: EOS,
                128004: "<｜▁pad▁｜>",
                128011: "<｜User｜>",
                128012: "<｜Assistant｜>",
                128013: "<think>",
                128014: "</think>",
            },
            text=MARKERS,
            tokenizer_class="LlamaTokenizerFast",
        ),
        real("deepseek-ai-DeepSeek-R1-Distill-Llama-8B"),
        LLAMA,
        replace(
            R1,
            arguments="string",
            content_of_calls=None,
            note=f"{R1.note}; transformers 5 reads tokenizer_class LlamaTokenizerFast as a SentencePiece "
            "tokenizer: text loses its spaces unless the tokenizer is loaded as PreTrainedTokenizerFast",
        ),
        (EOS,),
        R1_SAMPLING,
        recognised_as="deepseek-r1",
    ),
    Checkpoint(
        "deepseek-r1",
        V3_IDS,
        real("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", R1_SWITCH, note=R1_NOTE),
        Architecture("deepseek_v3", "DeepseekV3ForCausalLM", V3_FIELDS),
        R1,
        (EOS,),
        R1_SAMPLING,
    ),
    Checkpoint(
        "deepseek-v3.1",
        V3_IDS,
        real(
            "deepseek-ai-DeepSeek-V3.1",
            (V31_SWITCH, V31_DEFAULT),
            ("{{'<｜Assistant｜><think></think>'}}", "{{'<｜Assistant｜></think>'}}"),
            ("{%- else -%}{{'<think></think>'}}", "{%- else -%}{{'</think>'}}"),
            ("{%- if not thinking -%}{{'<think></think>'}}", "{%- if not thinking -%}{{'</think>'}}"),
            note="llama.cpp's enable_thinking and added <think> removed",
        ),
        Architecture("deepseek_v3", "DeepseekV3ForCausalLM", V3_FIELDS),
        Facts(
            default=f"{HEADER}</think>",
            start="<think>",
            end="</think>",
            on=Mode({"thinking": True}, f"{HEADER}<think>"),
            off=Mode({"thinking": False}, f"{HEADER}</think>"),
            variables=("thinking",),
            late_system="merged",
            tool_call="<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>",
            reasoning_parser="deepseek_v3",
            tool_parser="deepseek_v31",
            note="no generation prompt after a tool's result; tools are not rendered, the caller "
            "writes them into the system message; thinking in earlier content is removed",
        ),
        (EOS,),
        R1_SAMPLING,
    ),
    Checkpoint(
        "deepseek-v3.2",
        V3_IDS,
        real(
            "deepseek-ai-DeepSeek-V3.2",
            (
                "    {%- else -%}\n      {{- thinking_start_token + thinking_end_token -}}",
                "    {%- else -%}\n      {{- thinking_end_token -}}",
            ),
            (r"'\n\n' + thinking_start_token + thinking_end_token", r"'\n\n' + thinking_end_token"),
            note="llama.cpp's emulation of the Python encoder, added <think> removed; the model ships "
            "no template",
        ),
        Architecture(
            "deepseek_v32",
            "DeepseekV32ForCausalLM",
            {**V3_FIELDS, "index_topk": 64, "index_head_dim": 32, "index_n_heads": 2},
        ),
        Facts(
            default=f"{HEADER}</think>",
            start="<think>",
            end="</think>",
            on=Mode({"thinking": True}, f"{HEADER}<think>"),
            off=Mode({"thinking": False}, f"{HEADER}</think>"),
            variables=("thinking", "enable_thinking"),
            history=("reasoning_content",),
            keeps="tool loop",
            late_system="merged",
            tool_call='<｜DSML｜function_calls>\n<｜DSML｜invoke name="get_weather">',
            reasoning_parser="deepseek_v3",
            tool_parser="deepseek_v32",
            note="vLLM renders it by its tokenizer mode deepseek_v32; earlier thinking only if "
            "thinking is on",
        ),
        (EOS,),
        {"temperature": 1.0, "top_p": 0.95},
    ),
    Checkpoint(
        "deepseek-v4",
        V4_IDS,
        real("deepseek-ai-DeepSeek-V4"),
        Architecture("deepseek_v4", "DeepseekV4ForCausalLM", {"num_hidden_layers": 2}),
        Facts(
            default=f"{HEADER}</think>",
            start="<think>",
            end="</think>",
            on=Mode({"thinking": True}, f"{HEADER}<think>"),
            off=Mode({"thinking": False}, f"{HEADER}</think>"),
            variables=("thinking", "enable_thinking", "reasoning_effort", "drop_thinking"),
            history=("reasoning_content",),
            keeps="tool loop",
            late_system="merged",
            tool_call='<｜DSML｜tool_calls>\n<｜DSML｜invoke name="get_weather">',
            reasoning_parser="deepseek_v4",
            tool_parser="deepseek_v4",
            note="the template is llama.cpp's emulation of the Python encoder: the model ships none; "
            "reasoning_effort=max adds a text; with thinking on and tools all earlier thinking is rendered",
        ),
        (EOS,),
        {"temperature": 1.0, "top_p": 1.0},
    ),
)
