"""vLLM's own options under `--vllm.`, in all sources; nothing here imports vLLM."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from anytime_server.errors import UnusableOption
from anytime_server.server.settings import load_settings

pytestmark = pytest.mark.usefixtures("environment")


def passed(*argv: str) -> dict[str, Any]:
    return load_settings(argv).vllm.passed_through


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--vllm.quantization", "fp8"], {"quantization": "fp8"}),
        (["--vllm.max-num-batched-tokens=8k"], {"max_num_batched_tokens": "8k"}),
        (["--vllm.max_num_batched_tokens", "8192"], {"max_num_batched_tokens": "8192"}),
        (["--vllm.max-model-len", "-1"], {"max_model_len": "-1"}),
        (["--vllm.enable-expert-parallel"], {"enable_expert_parallel": True}),
        (["--vllm.no-enable-expert-parallel"], {"enable_expert_parallel": "false"}),
        (["--vllm.enable-lora", "--port", "1"], {"enable_lora": True}),
        (["--vllm.cudagraph-capture-sizes", "1", "2"], {"cudagraph_capture_sizes": ["1", "2"]}),
        (["--vllm.speculative-config", '{"method": "ngram"}'], {"speculative_config": '{"method": "ngram"}'}),
        (
            [
                "--vllm.speculative-config.method",
                "ngram",
                "--vllm.speculative-config.num_speculative_tokens=4",
            ],
            {"speculative_config": {"method": "ngram", "num_speculative_tokens": 4}},
        ),
        (
            ["--vllm.compilation-config.custom_ops+=all,none"],
            {"compilation_config": {"custom_ops": ["all", "none"]}},
        ),
    ],
)
def test_flags_of_vllm_are_passed_through(argv: list[str], expected: dict[str, Any]) -> None:
    assert passed(*argv) == expected


def test_own_options_have_both_spellings_and_are_not_passed_through() -> None:
    settings = load_settings(["--vllm.max_num_seqs", "7", "--vllm.window-tokens=64", "--port", "1"])
    assert (settings.vllm.max_num_seqs, settings.vllm.window_tokens, settings.port) == (7, 64, 1)
    assert settings.vllm.passed_through == {}


def test_flags_override_environment_overrides_file(
    environment: pytest.MonkeyPatch, toml: Callable[[str], str]
) -> None:
    path = toml(
        "[vllm]\nquantization = 'file'\nkv-cache-dtype = 'file'\nload_format = 'file'\nenable_lora = true\n"
        "[vllm.hf_overrides]\na = 1\n"
    )
    environment.setenv("ANYTIME_VLLM__QUANTIZATION", "environment")
    environment.setenv("ANYTIME_VLLM__KV_CACHE_DTYPE", "environment")
    environment.setenv("ANYTIME_VLLM__SPECULATIVE_CONFIG__METHOD", "ngram")
    assert passed("--config", path, "--vllm.quantization", "flag") == {
        "quantization": "flag",
        "kv_cache_dtype": "environment",
        "load_format": "file",
        "enable_lora": True,
        "hf_overrides": {"a": 1},
        "speculative_config": {"method": "ngram"},
    }


@pytest.mark.parametrize(
    ("argv", "option", "reason"),
    [
        (
            ["--vllm.quantisation", "fp8"],
            "quantisation",
            "vLLM has no such option; did you mean --vllm.quantization?",
        ),
        (["--vllm.max-seqs", "1"], "max-seqs", "vLLM has no such option; did you mean --vllm.max-num-seqs?"),
        (["--vllm.xyzzy", "1"], "xyzzy", "vLLM has no such option"),
        (["--vllm.model", "x"], "model", "--model names the model"),
        (
            ["--vllm.no-enable-prefix-caching"],
            "enable-prefix-caching",
            "an answer finds its thinking in the prefix cache",
        ),
        (
            ["--vllm.scheduling-policy", "fcfs"],
            "scheduling-policy",
            "answers run before thinking, which needs the policy `priority`",
        ),
        (
            ["--vllm.structured-outputs-config.backend", "guidance"],
            "structured-outputs-config.backend",
            "the server checks schemas for llguidance",
        ),
        (
            ["--vllm.structured-outputs-config", '{"backend": "guidance"}'],
            "structured-outputs-config.backend",
            "the server checks schemas for llguidance",
        ),
        (
            ["--vllm.max-model-len", "8k", "--vllm.window-tokens", "64"],
            "max-model-len",
            "is the same as --vllm.window-tokens, which is given too",
        ),
        (
            ["--vllm.kv-cache-memory-bytes", "1", "--vllm.kv-cache-mib", "1"],
            "kv-cache-memory-bytes",
            "is the same as --vllm.kv-cache-mib, which is given too",
        ),
    ],
)
def test_unusable_options_are_refused_in_one_line(argv: list[str], option: str, reason: str) -> None:
    with pytest.raises(UnusableOption) as refused:
        load_settings(argv)
    assert str(refused.value) == f"--vllm.{option}: {reason}"


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--lora-modules", "a=/b", "--engine", "scripted"], "needs --engine vllm"),
        (["--lora-modules", "/b"], "must be adapters such as NAME=FOLDER, separated by commas"),
    ],
)
def test_unusable_adapters_are_refused(argv: list[str], reason: str) -> None:
    with pytest.raises(UnusableOption) as refused:
        load_settings(argv)
    assert str(refused.value) == f"--lora-modules: {reason}"


@pytest.mark.parametrize("text", ["a=/x,b=/y", " a=/x, b=/y,"])
def test_adapters_in_the_environment(environment: pytest.MonkeyPatch, text: str) -> None:
    environment.setenv("ANYTIME_LORA_MODULES", text)
    assert load_settings([]).lora_modules == {"a": "/x", "b": "/y"}


def test_adapters_as_flags_and_as_a_table(toml: Callable[[str], str]) -> None:
    assert load_settings(["--lora-modules", "a=/x", "--lora-modules", "b=/y"]).lora_modules == {
        "a": "/x",
        "b": "/y",
    }
    assert load_settings(["--config", toml("[lora_modules]\na = '/x'\n")]).lora_modules == {"a": "/x"}


def test_wrong_options_are_refused_without_importing_vllm() -> None:
    program = (
        "import sys; from anytime_server.server.run import main; status = main(sys.argv[1:]); "
        "sys.exit(9 if 'vllm' in sys.modules or 'torch' in sys.modules else status)"
    )
    command = [sys.executable, "-c", program, "--vllm.xyzzy", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "anytime serve: --vllm.xyzzy: vLLM has no such option\n")
