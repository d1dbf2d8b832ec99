"""Values of vLLM's options, as vLLM's own parser types and refuses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from anytime_server.engine.environment import prepare_environment
from anytime_server.engine.vllm import VllmOptions
from anytime_server.engine.vllm.arguments import engine_config
from anytime_server.engine.vllm.pass_through import REFUSED, known_names, typed_values
from anytime_server.errors import UnusableOption

NGRAM = {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4}


@pytest.fixture(autouse=True, scope="module")
def environment() -> None:
    prepare_environment()  # before vLLM is imported


def test_names_read_from_the_source_are_those_of_the_class() -> None:
    import dataclasses

    from vllm.engine.arg_utils import AsyncEngineArgs

    fields = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    assert known_names() == {name for name in fields if not name.startswith("_")}
    assert known_names() >= set(REFUSED)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("max_num_batched_tokens", ["8k", "8000", 8000], 8000),
        ("gpu_memory_utilization", ["0.5", 0.5], 0.5),
        ("enable_expert_parallel", [True, "true", "on", "1"], True),
        ("enable_expert_parallel", [False, "false", "0"], False),
        ("enable_log_requests", [False, "no"], False),
        ("quantization", ["fp8"], "fp8"),
        ("max_model_len", ["auto", "-1", -1], -1),
        ("cudagraph_capture_sizes", ["1,2", ["1", "2"], [1, 2]], [1, 2]),
        ("hf_overrides", ['{"a": 1}', {"a": 1}], {"a": 1}),
        (
            "speculative_config",
            [NGRAM, '{"method":"ngram","num_speculative_tokens":4,"prompt_lookup_max":4}'],
            NGRAM,
        ),
    ],
)
def test_values_are_typed_by_the_parser(name: str, values: list[Any], expected: Any) -> None:
    assert [typed_values({name: value})[name] for value in values] == [expected] * len(values)


def test_tables_within_structured_outputs_keep_the_backend() -> None:
    typed = typed_values({"structured_outputs_config": {"disable_any_whitespace": False}})
    config = typed["structured_outputs_config"]
    assert (config.backend, config.disable_any_whitespace) == ("guidance", False)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("kv_cache_dtype", "fp9", "--vllm.kv-cache-dtype: invalid choice: 'fp9' "),
        ("seed", "x", "--vllm.seed: invalid int value: 'x'"),
        ("enable_expert_parallel", "maybe", "--vllm.enable-expert-parallel: must be true or false"),
        (
            "compilation_config",
            {"mode": "X"},
            "--vllm.compilation-config: mode: Value error, ",
        ),
        (
            "structured_outputs_config",
            {"x": 1},
            "--vllm.structured-outputs-config: x: ",
        ),
        (
            "structured_outputs_config",
            3,
            "--vllm.structured-outputs-config: must be a table",
        ),
        ("mamba_config", "3", "--vllm.mamba-config: must be a table"),
    ],
)
def test_values_that_the_parser_refuses(name: str, value: Any, line: str) -> None:
    with pytest.raises(UnusableOption) as refused:
        typed_values({name: value})
    message = str(refused.value)
    assert message.startswith(line)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (
            {"quantization": "nonsense", "seed": 1},
            "--vllm.quantization: Unknown quantization ",
        ),
        ({"distributed_executor_backend": "nonsense"}, "--vllm.distributed-executor-backend: "),
        ({"window_tokens": 100_000}, "--vllm.window-tokens: "),
        ({"max_num_batched_tokens": 10}, "--vllm.max-num-batched-tokens: "),
    ],
)
def test_the_option_that_the_model_cannot_have_is_named(
    tiny_checkpoint: Path, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(UnusableOption) as refused:
        engine_config(str(tiny_checkpoint), VllmOptions(**options), on_cpu=True)
    assert str(refused.value).startswith(named)


def test_options_of_vllm_override_our_defaults(tiny_checkpoint: Path) -> None:
    options = VllmOptions.model_validate(
        {"block_size": 64, "max-num-batched-tokens": "4k", "max_num_seqs": 8}
    )
    config, max_num_seqs = engine_config(str(tiny_checkpoint), options, on_cpu=True)
    scheduler = config.scheduler_config
    assert (config.cache_config.block_size, scheduler.max_num_batched_tokens) == (64, 4000)
    assert (max_num_seqs, scheduler.max_num_seqs) == (8, 8 + 2)
    assert config.structured_outputs_config.backend == "guidance"
    assert (scheduler.policy, config.cache_config.enable_prefix_caching) == ("priority", True)


def test_copies_of_the_model_share_the_sequences(tiny_checkpoint: Path) -> None:
    options = VllmOptions.model_validate({"data_parallel_size": 2, "max_num_seqs": 9})
    config, max_num_seqs = engine_config(str(tiny_checkpoint), options, on_cpu=True)
    assert (max_num_seqs, config.scheduler_config.max_num_seqs) == (9, 6)  # 9 + 2 on two copies
    both = VllmOptions.model_validate({"data_parallel_size": 2})
    one, two = (engine_config(str(tiny_checkpoint), o, on_cpu=False)[1] for o in (VllmOptions(), both))
    assert two == 2 * one


def test_a_gpu_gets_the_defaults_of_vllm(tiny_checkpoint: Path) -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext

    config, max_num_seqs = engine_config(str(tiny_checkpoint), VllmOptions(), on_cpu=False)
    assert max_num_seqs == AsyncEngineArgs.get_batch_defaults(1)[1][UsageContext.OPENAI_API_SERVER]
    assert config.scheduler_config.max_num_seqs == max_num_seqs + max_num_seqs // 4
    assert config.scheduler_config.enable_chunked_prefill
    assert config.cache_config.kv_cache_memory_bytes is None
    assert config.cache_config.gpu_memory_utilization == 0.9
    sized, _ = engine_config(str(tiny_checkpoint), VllmOptions(kv_cache_mib=300), on_cpu=False)
    assert sized.cache_config.kv_cache_memory_bytes == 300 << 20
    assert engine_config(str(tiny_checkpoint), VllmOptions(), on_cpu=True)[1] == 64
