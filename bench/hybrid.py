"""What does a truncation cost in a hybrid model, whose prefix cache holds states of linear attention?

A random Qwen3-Next (three layers of linear attention, then one of full attention, and again) and a random
Qwen3 of the same width think up to a budget, one request at a time. An answer continues the thinking by way
of the prefix cache: the time from the last thinking token to the first token of the answer is compared with
the time between two tokens of the thinking, and the cached tokens of the answer's prompt are counted.

    python bench/hybrid.py [--requests N]
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from pathlib import Path
from typing import Any

import httpx2
from models import LEAD_IN, TRUNCATION, VOCAB_SIZE, never_end, random_manifest
from records import parser_of, write_record
from servers import Server, anytime_server

BUDGETS = (512, 1024)
WINDOW_TOKENS = 4096
WIDTH, LAYERS, HEADS, HEAD_SIZE, MLP_SIZE = 256, 8, 4, 64, 768
STATE_HEADS, STATE_SIZE, EXPERTS, EXPERT_SIZE = 4, 128, 4, 128
ANSWER_TOKENS = 8


def write_model(folder: Path, *, is_hybrid: bool) -> None:
    """Write a random model that never ends its thinking."""
    import torch
    from anytime_training.demo.tokenizer import build_tokenizer
    from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3NextConfig, Qwen3NextForCausalLM

    texts = [LEAD_IN + TRUNCATION] * 2
    tokenizer = build_tokenizer(texts, vocab_size=VOCAB_SIZE, window_tokens=WINDOW_TOKENS)
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": MLP_SIZE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "head_dim": HEAD_SIZE,
        "max_position_embeddings": WINDOW_TOKENS,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": tokenizer.convert_tokens_to_ids(str(tokenizer.eos_token)),
        "initializer_range": WIDTH**-0.5 / 2,
    }
    torch.manual_seed(0)
    if is_hybrid:
        model: Any = Qwen3NextForCausalLM(
            Qwen3NextConfig(
                **shape,
                linear_num_key_heads=STATE_HEADS,
                linear_num_value_heads=STATE_HEADS,
                linear_key_head_dim=STATE_SIZE,
                linear_value_head_dim=STATE_SIZE,
                num_experts=EXPERTS,
                num_experts_per_tok=2,
                moe_intermediate_size=EXPERT_SIZE,
                shared_expert_intermediate_size=EXPERT_SIZE,
            )
        )
    else:
        model = Qwen3ForCausalLM(Qwen3Config(**shape))
    never_end(model, tokenizer.batch_decode([[number] for number in range(len(tokenizer))]))
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    random_manifest(answer_tokens=ANSWER_TOKENS).save(folder)


async def measure(server: Server, *, num_requests: int) -> list[dict[str, Any]]:
    """A row for each budget."""
    rows = []
    async with httpx2.AsyncClient(base_url=server.url, timeout=600) as http:
        for budget in BUDGETS:
            await _ask(http, budget, num_requests)  # warms up
            rows.append(_row(budget, [await _ask(http, budget, seed) for seed in range(num_requests)]))
    return rows


async def _ask(http: httpx2.AsyncClient, budget: int, seed: int) -> dict[str, Any]:
    body = {
        "messages": [{"role": "user", "content": f"{seed}: {'question ' * 8}"}],
        "budget": budget,
        "thinking": {"seed": seed},
        "stream": False,
    }
    response = await http.post("/v1/anytime", json=body)
    return response.raise_for_status().json()


def _row(budget: int, done: list[dict[str, Any]]) -> dict[str, Any]:
    assert all(one["stop"]["thinking_tokens"] == budget for one in done)
    timings = [one["timing"] for one in done]
    thinking_s = [
        one["time_to_answer_s"] - one["cut_to_answer_s"] - one["time_to_first_token_s"] for one in timings
    ]
    token_s = statistics.median(seconds / (budget - 1) for seconds in thinking_s)
    to_answer_s = statistics.median(one["cut_to_answer_s"] for one in timings)
    usage = done[0]["usage"]
    prompt_tokens = usage["prompt_tokens"] + usage["thinking_tokens"] + usage["inserted_tokens"]
    row = {
        "budget": budget,
        "requests": len(done),
        "inter_token_ms": token_s * 1000,
        "cut_to_answer_ms": to_answer_s * 1000,
        "ratio": to_answer_s / token_s,
        "answer_prompt_tokens": prompt_tokens,
        "answer_cached_tokens": statistics.median(one["usage"]["cached_tokens"] for one in done),
    }
    print(
        f"budget {budget:5}  {row['inter_token_ms']:.2f} ms between tokens, truncation to answer "
        f"{row['cut_to_answer_ms']:.1f} ms = {row['ratio']:.1f} of them; "
        f"{row['answer_cached_tokens']:.0f} of the answer's {prompt_tokens} prompt tokens were cached",
        flush=True,
    )
    return row


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--requests", type=int, default=3, help="requests per budget (default: %(default)s)")
    arguments = parser.parse_args()
    measured: dict[str, Any] = {}
    for name, is_hybrid in (("hybrid", True), ("dense", False)):
        with tempfile.TemporaryDirectory() as folder:
            write_model(Path(folder), is_hybrid=is_hybrid)
            with anytime_server("--model", folder) as server:
                print(f"{name}:")
                measured[name] = asyncio.run(measure(server, num_requests=arguments.requests))
    write_record("hybrid", measured, parser=parser, arguments=arguments)


if __name__ == "__main__":
    main()
