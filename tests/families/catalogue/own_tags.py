"""Models with tags of their own or with a tag around the answer: Hunyuan, Hy3, Seed-OSS, ERNIE.

None of their vocabularies is to be had: they borrow Llama 3.1's.
"""

from __future__ import annotations

from tests.families.architectures import EXPERTS, SMALL, Architecture, dense
from tests.families.checkpoint import Checkpoint, Facts, Mode
from tests.families.templates import Template, own, real
from tests.families.vocabularies import Vocabulary

HUNYUAN = {
    "num_experts": 4,
    "moe_topk": [2, 2],
    "moe_intermediate_size": [128, 128],  # transformers takes intermediate_size
    "num_shared_expert": [1, 1],
}
HY3 = ":opensource"
HY3_HEADER = f"<｜hy_Assistant{HY3}｜>"

CHECKPOINTS = (
    Checkpoint(
        "hunyuan-a13b",
        Vocabulary(
            "llama3_1",
            bos="<|startoftext|>",
            eos="<|eos|>",
            special=("<|startoftext|>", "<|eos|>", "<|extra_0|>", "<|extra_4|>"),
            is_borrowed=True,
        ),
        Template("vllm", "tool_chat_template_hunyuan_a13b"),
        Architecture("hunyuan_v1_moe", "HunYuanMoEV1ForCausalLM", {**SMALL, **HUNYUAN}),
        Facts(
            default="QQQ<|extra_0|>",
            start="<think>\n",
            end="\n</think>\n<answer>\n",
            on=Mode({"enable_thinking": True}, "QQQ<|extra_0|>"),
            off=Mode({"enable_thinking": False}, "QQQ<|extra_0|><think>\n\n</think>\n"),
            variables=("enable_thinking",),
            tool_call='<tool_calls>[{"name": "get_weather", "arguments": ',
            reasoning_parser="hunyuan_a13b",
            tool_parser="hunyuan_a13b",
            note="no assistant header; markers are text of 3 to 7 tokens; the answer ends with "
            "\\n</answer>; /no_think before the user's text is trained, the template ignores it",
        ),
        ("<|eos|>",),
        {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05},
    ),
    Checkpoint(
        "hy3",
        Vocabulary(
            "llama3_1",
            bos=f"<｜hy_begin_of_sentence{HY3}｜>",
            eos=f"<｜hy_eos{HY3}｜>",
            pad=f"<｜hy_pad{HY3}｜>",
            special=tuple(
                f"<｜{name}{HY3}｜>"
                for name in (
                    "hy_begin_of_sentence",
                    "hy_eos",
                    "hy_pad",
                    "hy_User",
                    "hy_Assistant",
                    "reasoning_mode",
                )
            ),
            text=tuple(
                f"<{name}{HY3}>"
                for tag in (
                    "think",
                    "tool_calls",
                    "tool_call",
                    "tool_sep",
                    "arg_key",
                    "arg_value",
                    "tool_responses",
                )
                for name in (tag, f"/{tag}")
            ),
            settings={"token_suffix": HY3},
            is_borrowed=True,
        ),
        real("tencent-Hy3"),
        Architecture("hy_v3", "HYV3ForCausalLM", {**SMALL, **EXPERTS, "num_shared_experts": 1}),
        Facts(
            default=f"{HY3_HEADER}<think{HY3}></think{HY3}>",
            start=f"<think{HY3}>",
            end=f"</think{HY3}>",
            on=Mode({"reasoning_effort": "high"}, f"{HY3_HEADER}<think{HY3}>"),
            off=Mode({"reasoning_effort": "no_think"}, f"{HY3_HEADER}<think{HY3}></think{HY3}>"),
            variables=("reasoning_effort", "preserved_thinking"),
            history=("reasoning_content", "reasoning"),
            keeps="tool loop",
            late_system="merged",
            tool_call=f"<tool_calls{HY3}>\n<tool_call{HY3}>get_weather<tool_sep{HY3}>",
            reasoning_parser="hy_v3",
            tool_parser="hy_v3",
            note="thinking is opt-in; reasoning_effort is no_think, low or high, anything else raises; "
            "with tools all earlier thinking is rendered (preserved_thinking)",
        ),
        (f"<｜hy_eos{HY3}｜>",),
        {"temperature": 0.9, "top_p": 1.0},
    ),
    Checkpoint(
        "seed-oss",
        Vocabulary(
            "llama3_1",
            bos="<seed:bos>",
            eos="<seed:eos>",
            pad="<seed:pad>",
            special=("<seed:bos>", "<seed:eos>", "<seed:pad>"),
            text=(
                *("<seed:think>", "</seed:think>", "<seed:tool_call>", "</seed:tool_call>"),
                *("<seed:cot_budget_reflect>", "</seed:cot_budget_reflect>"),
            ),
            is_borrowed=True,
        ),
        real("ByteDance-Seed-OSS"),
        dense("seed_oss", "SeedOssForCausalLM"),
        Facts(
            default="<seed:bos>assistant\n",
            start="<seed:think>",
            end="</seed:think>",
            off=Mode(
                {"thinking_budget": 0},
                "<seed:bos>assistant\n<seed:think>\n<seed:cot_budget_reflect>The current thinking budget is "
                "0, so I will directly start answering the question.</seed:cot_budget_reflect>\n"
                "</seed:think>",
            ),
            variables=("thinking_budget",),
            history=("reasoning_content",),
            keeps="always",
            tool_call="<seed:tool_call>\n<function=get_weather>\n<parameter=city>Rome</parameter>",
            reasoning_parser="seed_oss",
            tool_parser="seed_oss",
            note="thinking_budget writes a system message: 512, 1024, 2048, 4096, 8192, 16384 are "
            "trained, -1 is unlimited; with one the model writes <seed:cot_budget_reflect> in its "
            "thinking",
        ),
        ("<seed:eos>",),
        {"temperature": 1.1, "top_p": 0.95},
    ),
    Checkpoint(
        "ernie-4.5",
        Vocabulary(
            "llama3_1",
            bos="<s>",
            eos="</s>",
            special=("<s>", "</s>", "<|im_start|>", "<|im_end|>"),
            text=(
                "<think>",
                "</think>",
                "<response>",
                "</response>",
                "<tool_call>",
                "</tool_call>",
                "<0x0A>",
            ),
            is_borrowed=True,
        ),
        own("ernie-4.5"),
        Architecture(
            "ernie4_5_moe",
            "Ernie4_5_MoeForCausalLM",
            {
                **SMALL,
                "moe_num_experts": 4,
                "moe_k": 2,
                "moe_intermediate_size": 64,
                "moe_num_shared_experts": 1,
            },
        ),
        Facts(
            default="<|im_start|>assistant\n<think>\n",
            start="<think>",
            end="</think>\n\n<response>\n",
            history=("reasoning_content",),
            keeps="tool loop",
            tool_call='<tool_call>\n{"name": "get_weather", "arguments": ',
            reasoning_parser="ernie45",
            tool_parser="ernie45",
            note="the answer stands between <response>\\n and \\n</response>\\n, tool calls in its place",
        ),
        ("</s>", "<|im_end|>"),
        {"temperature": 0.6, "top_p": 0.95},
    ),
)
