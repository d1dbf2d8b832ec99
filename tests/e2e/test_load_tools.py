"""Load tools as they are, against a scripted engine: their figures must be its delays.

The figures depend on the form of the stream: when the first chunk comes, which chunks have text, and where
tokens are counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from anytime_server.text.model import BUNDLED_MODEL

from ..servers import RealServer, start

pytestmark = pytest.mark.nightly

GUIDELLM = Path(__file__).parents[2] / "build" / "guidellm" / "bin"
FIRST_S, TOKEN_S = 0.5, 0.05
THINKING, TOTAL = 20, 40
TO_FIRST_MS = 1000 * (FIRST_S + TOKEN_S)
"""The answer is a second request of the engine, which waits `FIRST_S` again."""
PER_TOKEN_MS = 1000 * (FIRST_S + (TOTAL - 1) * TOKEN_S) / (TOTAL - 1)
"""Mean over all tokens after the first."""
SLOWER = 1.6
"""Factor by which a busy machine may be slower. Nothing can be faster than the engine."""
REQUESTS = 4
LOAD = ["--num-prompts", str(REQUESTS), "--max-concurrency", "2"]
VLLM_BENCH = """
import argparse
from vllm.benchmarks.serve import add_cli_args, main
parser = argparse.ArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""
"""`vllm bench serve`, whose command cannot find the version of vLLM's build for CPUs."""


@pytest.fixture(scope="module")
def server() -> Generator[RealServer, None, None]:
    script = {
        "seconds-per-token": TOKEN_S,
        "first-token-s": FIRST_S,
        "thinking-tokens": THINKING,
        "answer": "3+4=7;" * 40,
    }
    options = [part for name, value in script.items() for part in (f"--scripted.{name}", str(value))]
    server = start(["--engine", "scripted", *options])
    yield server
    server.stop()


@pytest.fixture(scope="module")
def guidellm() -> Path:
    """The folder of guidellm's programs; its Python also has pandas."""
    if not (GUIDELLM / "guidellm").is_file():
        pytest.skip("guidellm is not installed: run scripts/setup-guidellm.sh")
    return GUIDELLM


def run(*command: str) -> None:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout.decode()[-3000:]


def vllm_bench(python: Path | str, server: RealServer, out: Path, *options: str) -> dict[str, Any]:
    """The report of `vllm bench serve`."""
    model = ["--model", str(BUNDLED_MODEL), "--served-model-name", "anytime-demo"]
    saved = ["--save-result", "--save-detailed", "--result-dir", str(out), "--result-filename", "result.json"]
    target = ["--base-url", server.url, "--ignore-eos", "--disable-tqdm", "--ready-check-timeout-sec", "60"]
    run(str(python), "-c", VLLM_BENCH, *model, *target, *saved, *LOAD, *options)
    return json.loads((out / "result.json").read_text())


def check(reported: dict[str, Any]) -> None:
    """Check a report of `vllm bench serve` on the chat dialect."""
    assert reported["completed"] == REQUESTS
    assert reported["total_output_tokens"] == REQUESTS * TOTAL
    assert reported["output_lens"] == [TOTAL] * REQUESTS
    assert TO_FIRST_MS <= reported["median_ttft_ms"] <= SLOWER * TO_FIRST_MS
    assert 0.99 * PER_TOKEN_MS <= reported["median_tpot_ms"] <= SLOWER * PER_TOKEN_MS
    assert 0.9 * 1000 * TOKEN_S <= reported["median_itl_ms"] <= SLOWER * 1000 * TOKEN_S
    for intervals in reported["itls"]:
        assert len(intervals) in (TOTAL - 1, TOTAL)  # the last chunk has the finish reason


CHAT = ["--backend", "openai-chat", "--endpoint", "/v1/chat/completions"]


def test_vllm_bench_with_random_prompts(server: RealServer, tmp_path: Path) -> None:
    prompts = ["--dataset-name", "random", "--random-input-len", "40", "--random-output-len", str(TOTAL)]
    check(vllm_bench(sys.executable, server, tmp_path, *CHAT, *prompts))


def test_vllm_bench_with_own_prompts(server: RealServer, guidellm: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text("".join(f'{{"prompt": "{i}-3"}}\n' for i in range(REQUESTS)))
    prompts = ["--dataset-name", "custom", "--dataset-path", str(tmp_path / "prompts.jsonl")]
    length = ["--custom-output-len", str(TOTAL)]
    check(vllm_bench(guidellm / "python", server, tmp_path, *CHAT, *prompts, *length))


def test_guidellm(server: RealServer, guidellm: Path, tmp_path: Path) -> None:
    options = {
        "--backend": f"kind=openai_http,target={server.url}",
        "--profile": "kind=concurrent,streams=2",
        "--constraint": f"kind=max_requests,count={REQUESTS}",
        "--tokenizer": f"kind=huggingface_auto,model={BUNDLED_MODEL}",
        "--data": f"kind=synthetic_text,prompt_tokens=40,output_tokens={TOTAL}",
        "--output": f"kind=json,path={tmp_path / 'report.json'}",
    }
    arguments = [part for pair in options.items() for part in pair]
    run(str(guidellm / "guidellm"), "run", *arguments, "--disable-console")
    [benchmark] = json.loads((tmp_path / "report.json").read_text())["benchmarks"]
    metrics = {
        name: metric["successful"]
        for name, metric in benchmark["metrics"].items()
        if isinstance(metric, dict) and "successful" in metric
    }
    assert metrics["request_totals"] >= REQUESTS - 1
    assert benchmark["metrics"]["request_totals"]["errored"] == 0
    assert metrics["output_token_count"]["mean"] == TOTAL
    assert 40 <= metrics["prompt_token_count"]["mean"] <= 60
    assert TO_FIRST_MS <= metrics["time_to_first_token_ms"]["median"] <= SLOWER * TO_FIRST_MS
    assert 0.99 * PER_TOKEN_MS <= metrics["inter_token_latency_ms"]["median"] <= SLOWER * PER_TOKEN_MS
    to_answer_ms = TO_FIRST_MS + 1000 * (FIRST_S + THINKING * TOKEN_S)
    assert 0.99 * to_answer_ms <= metrics["time_to_first_output_token_ms"]["median"] <= SLOWER * to_answer_ms
