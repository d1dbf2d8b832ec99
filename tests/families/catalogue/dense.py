"""Small models: Llama, Hermes, Llama-Nemotron, SmolLM3, Granite, Olmo, EXAONE, Phi, MiniCPM, LFM."""

from __future__ import annotations

from tests.families.architectures import EXPERTS, LLAMA, SMALL, Architecture, dense
from tests.families.checkpoint import Checkpoint, Facts, Mode
from tests.families.templates import own, real
from tests.families.vocabularies import Vocabulary

HEADER = "<|im_start|>assistant\n"
THINK = ("<think>", "</think>")
JSON_CALL = '<tool_call>\n{"name": "get_weather", "arguments": '
LLAMA_HEADER = "<|start_header_id|>assistant<|end_header_id|>\n\n"
LLAMA_IDS = Vocabulary(
    "llama3_1",
    bos="<|begin_of_text|>",
    eos="<|eot_id|>",
    names={128008: "<|eom_id|>", 128010: "<|python_tag|>", 128004: "<|finetune_right_pad_id|>"},
    pad="<|finetune_right_pad_id|>",
    adds_bos=True,
)
LLAMA_ENDS = ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>")
CHATML_IDS = Vocabulary(
    "llama3_1",
    eos="<|im_end|>",
    special=("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
    is_borrowed=True,
)
GRANITE_HEADER = "<|start_of_role|>assistant<|end_of_role|>"
GRANITE_IDS = Vocabulary(
    "starcoder",
    bos="<|end_of_text|>",
    eos="<|end_of_text|>",
    names={0: "<|end_of_text|>"},
    special=("<|start_of_role|>", "<|end_of_role|>", "<|tool_call|>"),
)
EXAONE_IDS = Vocabulary(
    "llama3_1",
    bos="[BOS]",
    eos="[|endofturn|]",
    pad="[PAD]",
    special=("[BOS]", "[PAD]", "[|system|]", "[|user|]", "[|assistant|]", "[|tool|]", "[|endofturn|]"),
    text=(*THINK, "<tool_call>", "</tool_call>", "<tool_result>", "</tool_result>"),
    is_borrowed=True,
)
EXAONE_DEEP_IDS = Vocabulary(
    "llama3_1",
    bos="[BOS]",
    eos="[|endofturn|]",
    pad="[PAD]",
    special=("[BOS]", "[PAD]", "[|system|]", "[|user|]", "[|assistant|]", "[|endofturn|]"),
    text=("<thought>", "</thought>"),
    is_borrowed=True,
)

CHECKPOINTS = (
    Checkpoint(
        "llama-3.1-instruct",
        LLAMA_IDS,
        real("meta-llama-Llama-3.1-8B-Instruct"),
        LLAMA,
        Facts(
            default=LLAMA_HEADER,
            tool_call='{"name": "get_weather", "parameters": ',
            tool_parser="llama3_json",
            note="does not think; refuses messages with several tool calls; tools stand in the first "
            "user message",
        ),
        LLAMA_ENDS,
        {"temperature": 0.6, "top_p": 0.9},
    ),
    Checkpoint(
        "hermes-3",
        Vocabulary(
            "llama3_1",
            bos="<|begin_of_text|>",
            eos="<|im_end|>",
            pad="<|end_of_text|>",
            names={
                128039: "<|im_end|>",
                128040: "<|im_start|>",
                128013: "<tool_call>",
                128014: "</tool_call>",
            },
            text=("<tool_call>", "</tool_call>"),
            adds_bos=True,
        ),
        own("hermes-3"),
        LLAMA,
        Facts(
            default=HEADER,
            tool_call=JSON_CALL,
            tool_parser="hermes",
            note="does not think; two templates, default and tool_use, of which the second fails "
            "without tools",
        ),
        ("<|im_end|>",),
        {"temperature": 0.6, "top_p": 0.9},
        real("NousResearch-Hermes-3-Llama-3.1-8B-tool_use"),
    ),
    Checkpoint(
        "llama-nemotron",
        LLAMA_IDS,
        own("llama-nemotron"),
        LLAMA,
        Facts(
            default=LLAMA_HEADER,
            start="<think>\n",
            end="\n</think>\n\n",
            late_system="dropped",
            tool_call='<TOOLCALL>[{"name": "get_weather", "arguments": ',
            note="thinks if the system message is `detailed thinking on`, not if it is `detailed "
            "thinking off`; <think> is text of several tokens; not thinking it may write "
            "<think>\\n\\n</think>",
        ),
        LLAMA_ENDS,
        {"temperature": 0.6, "top_p": 0.95},
    ),
    Checkpoint(
        "smollm3",
        Vocabulary(
            "llama3_1",
            eos="<|im_end|>",
            names={
                128002: "<think>",
                128003: "</think>",
                128011: "<|im_start|>",
                128012: "<|im_end|>",
                128013: "<tool_response>",
                128014: "</tool_response>",
                128015: "<tool_call>",
                128016: "</tool_call>",
                128017: "<code>",
                128018: "</code>",
            },
            text=(
                *THINK,
                "<tool_call>",
                "</tool_call>",
                "<tool_response>",
                "</tool_response>",
                "<code>",
                "</code>",
            ),
        ),
        real("HuggingFaceTB-SmolLM3-3B"),
        dense("smollm3", "SmolLM3ForCausalLM", no_rope_layers=[1, 1]),
        Facts(
            default=HEADER,
            start="<think>",
            end="</think>",
            on=Mode({"enable_thinking": True}, HEADER),
            off=Mode({"enable_thinking": False}, f"{HEADER}<think>\n\n</think>\n"),
            off_by_text=("system", "/no_think", f"{HEADER}<think>\n\n</think>\n"),
            variables=("enable_thinking",),
            late_system="dropped",
            reasoning_parser="qwen3",
            tool_parser="hermes",
            note="/think and /no_think count in the first system message only and override "
            "enable_thinking; the template is Unsloth's, which renders neither tools nor calls: "
            "the model's own takes xml_tools and python_tools",
        ),
        ("<|im_end|>",),
        {"temperature": 0.6, "top_p": 0.95},
    ),
    Checkpoint(
        "granite-3.3",
        GRANITE_IDS,
        real("ibm-granite-granite-3.3-2B-Instruct"),
        dense("granite", "GraniteForCausalLM"),
        Facts(
            default=GRANITE_HEADER,
            start="<think>",
            end="</think><response>",
            on=Mode({"thinking": True}, GRANITE_HEADER),
            off=Mode({"thinking": False}, GRANITE_HEADER),
            variables=("thinking",),
            reasoning_parser="granite",
            tool_parser="granite",
            note="thinking is opt-in and asked for in the default system message, only without a "
            "system message, tools and documents; the markers are text; 3.2 writes `Here is my "
            "thought process:` and `Here is my response:`; vLLM's parser granite reads only "
            "these; <|tool_call|> opens a JSON list, calls in history are not rendered",
        ),
        ("<|end_of_text|>",),
    ),
    Checkpoint(
        "granite-4.2",
        GRANITE_IDS,
        own("granite-4.2"),
        dense("granite", "GraniteForCausalLM"),
        Facts(
            default=GRANITE_HEADER,
            start="<think>",
            end="</think>",
            on=Mode({"enable_thinking": True}, f"{GRANITE_HEADER}<think>\n"),
            off=Mode({"enable_thinking": False}, GRANITE_HEADER),
            variables=("enable_thinking",),
            history=("reasoning_content",),
            keeps="tool loop",
            tool_call=JSON_CALL,
            reasoning_parser="granite_thinking_parser",
            tool_parser="granite4",
            note="not verified: the template is a guess",
        ),
        ("<|end_of_text|>",),
    ),
    Checkpoint(
        "granite-4.1",
        GRANITE_IDS,
        real("ibm-granite-granite-4.1"),
        dense("granite", "GraniteForCausalLM"),
        Facts(default=GRANITE_HEADER, tool_call=JSON_CALL, tool_parser="granite4", note="does not think"),
        ("<|end_of_text|>",),
    ),
    Checkpoint(
        "olmo-3-think",
        CHATML_IDS,
        own("olmo-3-think"),
        dense(
            "olmo3",
            "Olmo3ForCausalLM",
            layer_types=["sliding_attention", "full_attention"],
            sliding_window=4096,
        ),
        Facts(
            default=f"{HEADER}<think>",
            start="<think>",
            end="</think>",
            reasoning_parser="olmo3",
            tool_parser="olmo3",
            tool_call="<function_calls>get_weather(city=",
            note="<think> and </think> are text of several tokens",
        ),
        ("<|im_end|>", "<|endoftext|>"),
        {"temperature": 0.6, "top_p": 0.95},
    ),
    Checkpoint(
        "exaone-4",
        EXAONE_IDS,
        own("exaone-4"),
        dense(
            "exaone4",
            "Exaone4ForCausalLM",
            layer_types=["sliding_attention", "full_attention"],
            sliding_window=4096,
        ),
        Facts(
            default="[|assistant|]\n<think>\n\n</think>\n\n",
            start="<think>",
            end="</think>",
            on=Mode({"enable_thinking": True}, "[|assistant|]\n<think>\n"),
            off=Mode({"enable_thinking": False}, "[|assistant|]\n<think>\n\n</think>\n\n"),
            variables=("enable_thinking",),
            history=("reasoning_content",),
            keeps="tool loop",
            tool_call=JSON_CALL,
            reasoning_parser="deepseek_r1",
            tool_parser="hermes",
            note="thinking is opt-in",
        ),
        ("[|endofturn|]",),
        {"temperature": 0.6, "top_p": 0.95},
    ),
    Checkpoint(
        "exaone-deep",
        EXAONE_DEEP_IDS,
        own("exaone-deep"),
        Architecture("exaone", "ExaoneForCausalLM", SMALL, in_transformers=False),
        Facts(
            default="[|assistant|]<thought>\n",
            start="<thought>",
            end="</thought>",
            late_system="rendered",
            note="no vLLM parser of its name; thinking in earlier content is removed",
        ),
        ("[|endofturn|]",),
        {"temperature": 0.6, "top_p": 0.95},
    ),
    Checkpoint(
        "phi-4-reasoning",
        Vocabulary(
            "llama3_1",
            bos="<|endoftext|>",
            eos="<|im_end|>",
            special=("<|endoftext|>", "<|im_start|>", "<|im_sep|>", "<|im_end|>"),
            text=THINK,
            is_borrowed=True,
        ),
        own("phi-4-reasoning"),
        dense("phi3", "Phi3ForCausalLM"),
        Facts(
            default="<|im_start|>assistant<|im_sep|>",
            start="<think>",
            end="</think>",
            reasoning_parser="deepseek_r1",
            note="thinks because the system prompt in the template asks for it; the user's own is appended",
        ),
        ("<|endoftext|>", "<|im_end|>"),
        {"temperature": 0.8, "top_p": 0.95, "top_k": 50},
    ),
    Checkpoint(
        "minicpm5",
        Vocabulary(
            "llama3_1",
            bos="<s>",
            eos="<|im_end|>",
            special=("<s>", "<|im_start|>", "<|im_end|>"),
            text=(*THINK, "<tool_response>", "</tool_response>"),
            is_borrowed=True,
        ),
        real("openbmb-MiniCPM5-1B"),
        LLAMA,
        Facts(
            default=HEADER,
            start="<think>",
            end="</think>",
            on=Mode({"enable_thinking": True}, f"{HEADER}<think>\n"),
            off=Mode({"enable_thinking": False}, f"{HEADER}<think>\n\n</think>\n\n"),
            variables=("enable_thinking",),
            history=("reasoning_content",),
            keeps="tool loop",
            tool_call='<function name="get_weather"><param name="city">Rome</param></function>',
            tool_parser="minicpm5",
            note="without enable_thinking the model decides",
        ),
        ("<|im_end|>",),
        recognised_as="qwen3",
    ),
    Checkpoint(
        "lfm2.5",
        Vocabulary(
            "llama3_1",
            bos="<|startoftext|>",
            eos="<|im_end|>",
            special=("<|startoftext|>", "<|im_start|>", "<|im_end|>"),
            text=(*THINK, "<|tool_call_start|>", "<|tool_call_end|>"),
            is_borrowed=True,
        ),
        real("LFM2.5-8B-A1B"),
        Architecture(
            "lfm2_moe",
            "Lfm2MoeForCausalLM",
            {**SMALL, **EXPERTS, "num_dense_layers": 1, "layer_types": ["conv", "full_attention"]},
        ),
        Facts(
            default=HEADER,
            start="<think>",
            end="</think>",
            variables=("preserve_thinking",),
            history=("thinking",),
            keeps="tool loop",
            tool_call="<|tool_call_start|>[get_weather(city=",
            reasoning_parser="deepseek_r1",
            tool_parser="lfm2",
            note="the model opens <think>; preserve_thinking renders all earlier thinking",
        ),
        ("<|im_end|>",),
        recognised_as="think-tags",
    ),
)
