"""Models with channels, sections or own markers instead of tags: gpt-oss, Gemma 4, Kimi-K3 and others."""

from __future__ import annotations

from tests.families.architectures import EXPERTS, GROUPED, SMALL, Architecture, dense
from tests.families.checkpoint import Checkpoint, Facts, Mode
from tests.families.templates import real
from tests.families.vocabularies import Vocabulary

GEMMA_4_NAMES = {
    46: "<|tool>",
    47: "<tool|>",
    48: "<|tool_call>",
    49: "<tool_call|>",
    50: "<|tool_response>",
    51: "<tool_response|>",
    52: '<|"|>',
    98: "<|think|>",
    100: "<|channel>",
    101: "<channel|>",
    105: "<|turn>",
    106: "<turn|>",
    255999: "<|image>",
    256000: "<|audio>",
}
APERTUS_NAMES = dict(
    enumerate(
        (
            *("<|system_start|>", "<|system_end|>", "<|developer_start|>", "<|developer_end|>"),
            *("<|user_start|>", "<|user_end|>", "<|assistant_start|>", "<|assistant_end|>"),
            *("<|inner_prefix|>", "<|inner_suffix|>", "<|tools_prefix|>", "<|tools_suffix|>"),
        ),
        start=61,
    )
)
COHERE_HEADER = "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
KIMI_K3_HEADER = '<|open|>message role="assistant"<|sep|>'

CHECKPOINTS = (
    Checkpoint(
        "gpt-oss",
        Vocabulary("gptoss", bos="<|startoftext|>", eos="<|return|>", pad="<|endoftext|>"),
        real("openai-gpt-oss-120b"),
        Architecture(
            "gpt_oss",
            "GptOssForCausalLM",
            {**SMALL, "intermediate_size": 64, "num_local_experts": 4, "num_experts_per_tok": 2},
        ),
        Facts(
            default="<|start|>assistant",
            start="<|channel|>analysis<|message|>",
            end="<|end|><|start|>assistant<|channel|>final<|message|>",
            variables=("reasoning_effort",),
            history=("thinking",),
            keeps="tool loop",
            late_system="dropped",
            tool_call="<|start|>assistant to=functions.get_weather<|channel|>commentary json<|message|>",
            reasoning_parser="openai_gptoss",
            tool_parser="openai",
            note="reasoning_effort (default medium) becomes `Reasoning: …` in the system message; no "
            "off switch; a first system or developer message becomes the developer message; "
            "content and thinking of a message with tool calls exclude each other; a tool call "
            "ends with <|call|>",
        ),
        ("<|return|>", "<|endoftext|>", "<|call|>"),
    ),
    Checkpoint(
        "gemma-4",
        Vocabulary("gemma3", bos="<bos>", eos="<eos>", pad="<pad>", names=GEMMA_4_NAMES, adds_bos=True),
        real("google-gemma-4-31B-it"),
        Architecture(
            "gemma4",
            "Gemma4ForConditionalGeneration",
            {
                **SMALL,
                "hidden_size_per_layer_input": 0,
                "global_head_dim": 32,
                "tie_word_embeddings": True,
                "layer_types": ["sliding_attention", "full_attention"],
            },
            text=("gemma4_text", "Gemma4ForCausalLM"),
        ),
        Facts(
            default="<|turn>model\n<|channel>thought\n<channel|>",
            start="<|channel>thought\n",
            end="<channel|>",
            on=Mode({"enable_thinking": True}, "<|turn>model\n"),
            off=Mode({"enable_thinking": False}, "<|turn>model\n<|channel>thought\n<channel|>"),
            variables=("enable_thinking",),
            history=("reasoning", "reasoning_content"),
            keeps="tool loop",
            tool_call='<|tool_call>call:get_weather{city:<|"|>Rome<|"|>}<tool_call|>',
            reasoning_parser="gemma4",
            tool_parser="gemma4",
            note="thinking is opt-in: <|think|> opens the system turn; no generation prompt after a "
            "tool's result: the model's turn goes on; earlier thinking only of messages that call "
            "tools",
        ),
        ("<eos>", "<turn|>", "<|tool_response>"),
        {"temperature": 1.0, "top_p": 0.95, "top_k": 64},
    ),
    Checkpoint(
        "kimi-k3",
        Vocabulary(
            "llama3_1",
            eos="<|end_of_msg|>",
            special=("<|end_of_msg|>", "<|open|>", "<|close|>", "<|sep|>"),
            is_borrowed=True,
        ),
        real("Kimi-K3"),
        Architecture("kimi_k3", "KimiK3ForConditionalGeneration", SMALL, in_transformers=False),
        Facts(
            default=f"{KIMI_K3_HEADER}<|open|>think<|sep|>",
            start="<|open|>think<|sep|>",
            end="<|close|>think<|sep|><|open|>response<|sep|>",
            on=Mode({"thinking": True}, f"{KIMI_K3_HEADER}<|open|>think<|sep|>"),
            off=Mode({"thinking": False}, f"{KIMI_K3_HEADER}<|open|>response<|sep|>"),
            variables=("thinking", "thinking_effort"),
            history=("reasoning_content", "reasoning"),
            keeps="always",
            tool_call='<|open|>tools<|sep|><|open|>call tool="get_weather" index="1"<|sep|>',
            reasoning_parser="kimi_k3",
            tool_parser="kimi_k3",
            note="thinking_effort low, high or max (default max) in a system message, anything else "
            "raises; markers are sequences of tokens; thinking, response and tools are sections",
        ),
        ("<|end_of_msg|>",),
        {"temperature": 1.0, "top_p": 0.95},
    ),
    Checkpoint(
        "solar-open",
        Vocabulary(
            "llama3_1",
            eos="<|flush|>",
            special=(
                *(
                    "<|begin|>",
                    "<|end|>",
                    "<|think|>",
                    "<|content|>",
                    "<|tool_calls|>",
                    "<|calls|>",
                    "<|flush|>",
                ),
                *("<|tool_response|>", "<|tool_call:begin|>", "<|tool_call:name|>", "<|tool_call:args|>"),
                *("<|tool_call:end|>", "<|tool_response:begin|>", "<|tool_response:name|>"),
                *("<|tool_response:result|>", "<|tool_response:end|>"),
            ),
            is_borrowed=True,
        ),
        real("upstage-Solar-Open-100B"),
        Architecture("solar_open", "SolarOpenForCausalLM", {**SMALL, **GROUPED}),
        Facts(
            default="<|begin|>assistant",
            start="<|think|>",
            end="<|end|><|begin|>assistant<|content|>",
            on=Mode({"reasoning_effort": "high"}, "<|begin|>assistant"),
            off=Mode({"reasoning_effort": "low"}, "<|begin|>assistant<|think|><|end|><|begin|>assistant"),
            variables=("reasoning_effort", "think_render_option"),
            history=("reasoning",),
            keeps="tool loop",
            late_system="merged",
            tool_call="<|begin|>assistant<|tool_calls|><|tool_call:begin|>",
            note="reasoning_effort low and minimal pre-fill an empty block; vLLM has no parser of this name",
        ),
        ("<|flush|>", "<|end|>", "<|calls|>"),
        {"temperature": 0.8, "top_p": 0.95, "top_k": 50},
    ),
    Checkpoint(
        "muse-glimmer",
        Vocabulary(
            "llama3_1",
            eos="<|eot|>",
            special=("<|start|>", "<|message|>", "<|eot|>", "<|eom|>"),
            is_borrowed=True,
        ),
        real("muse-glimmer"),
        Architecture("muse_glimmer", "MuseGlimmerForConditionalGeneration", SMALL, in_transformers=False),
        Facts(
            default="<|start|>assistant",
            start=" to=self<|message|>",
            end="<|eom|><|start|>assistant to=user<|message|>",
            variables=("reasoning_strength",),
            history=("reasoning_content",),
            keeps="always",
            tool_call="<|start|>assistant to=get_weather<|message|><atem:function_calls>\n<atem:invoke name=",
            reasoning_parser="muse_glimmer",
            tool_parser="muse_glimmer",
            note="reasoning_strength (default high) in the system message",
        ),
        ("<|eot|>",),
    ),
    Checkpoint(
        "apertus",
        Vocabulary(
            "mistral_nemo",
            bos="<s>",
            eos="<|assistant_end|>",
            pad="<pad>",
            names=APERTUS_NAMES,
            adds_bos=True,
        ),
        real("Apertus-8B-Instruct"),
        dense("apertus", "ApertusForCausalLM"),
        Facts(
            default="<|assistant_start|>",
            start="<|inner_prefix|>",
            end="<|inner_suffix|>",
            on=Mode({"enable_thinking": True}, "<|assistant_start|>"),
            off=Mode({"enable_thinking": False}, "<|assistant_start|>"),
            variables=("enable_thinking",),
            late_system="refused",
            arguments="string",
            tool_call='<|tools_prefix|>[{"get_weather": ',
            tool_parser="apertus",
            note="enable_thinking writes `Deliberation: enabled` (default: disabled) into the "
            "developer turn; thinking in history as content blocks of type thoughts; tool "
            "arguments must be a string",
        ),
        ("<|assistant_end|>", "<|tools_suffix|>"),
        {"temperature": 0.8, "top_p": 0.9},
    ),
    Checkpoint(
        "cohere-2-moe",
        Vocabulary(
            "command_r_plus",
            bos="<BOS_TOKEN>",
            eos="<|END_OF_TURN_TOKEN|>",
            pad="<PAD>",
            names={
                255019: "<|START_TEXT|>",
                255020: "<|END_TEXT|>",
                255021: "<|START_THINKING|>",
                255022: "<|END_THINKING|>",
                255023: "<|START_ACTION|>",
                255024: "<|END_ACTION|>",
                255025: "<|START_TOOL_RESULT|>",
                255026: "<|END_TOOL_RESULT|>",
            },
            adds_bos=True,
        ),
        real("Cohere2MoE"),
        Architecture(
            "cohere2_moe", "Cohere2MoeForCausalLM", {**SMALL, **EXPERTS, "tie_word_embeddings": True}
        ),
        Facts(
            default=f"{COHERE_HEADER}<|START_THINKING|>",
            start="<|START_THINKING|>",
            end="<|END_THINKING|>",
            on=Mode({"reasoning": True}, f"{COHERE_HEADER}<|START_THINKING|>"),
            off=Mode({"reasoning": False}, f"{COHERE_HEADER}<|START_THINKING|><|END_THINKING|>"),
            variables=("reasoning", "reasoning_effort", "skip_thinking"),
            history=("reasoning", "reasoning_content", "thinking"),
            keeps="always",
            tool_call='<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "get_weather", ',
            reasoning_parser="cohere_command4",
            tool_parser="cohere_command4",
            note="reasoning_effort=none is off too; the answer stands between <|START_TEXT|> and "
            "<|END_TEXT|>",
        ),
        ("<|END_OF_TURN_TOKEN|>",),
    ),
    Checkpoint(
        "apriel-1.6",
        Vocabulary(
            "mistral_nemo",
            bos="<s>",
            eos="<|end|>",
            special=("<|end|>", "<|begin_system|>", "<|begin_user|>", "<|begin_assistant|>"),
            text=("<|begin_content|>", "<|begin_tool_result|>", "<tool_calls>", "</tool_calls>"),
            is_borrowed=True,
        ),
        real("Apriel-1.6-15b-Thinker-fixed"),
        Architecture("llama", "LlamaForCausalLM", SMALL),
        Facts(
            default="<|begin_assistant|>\nHere are my reasoning steps:\n",
            start="Here are my reasoning steps:\n",
            end="[BEGIN FINAL RESPONSE]",
            history=("reasoning_content",),
            tool_call='<tool_calls>[{"name": "get_weather", "arguments": ',
            note="markers are text; vLLM has no parser of this name; earlier thinking only of a last message",
        ),
        ("<|end|>",),
        {"temperature": 0.6},
        recognised_as="apriel",
    ),
)
