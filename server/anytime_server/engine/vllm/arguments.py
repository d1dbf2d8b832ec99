"""Options of the vLLM engine, and the arguments of vLLM's `AsyncEngineArgs` that follow from them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from anytime_server.engine.base import EngineLoad
from anytime_server.engine.environment import cpu_multiplies_bf16
from anytime_server.engine.vllm.pass_through import (
    STRUCTURED_OUTPUTS,
    YES,
    flag,
    require_usable,
    typed_values,
)
from anytime_server.errors import AnytimeError, UnusableOption, first_line

if TYPE_CHECKING:
    from vllm.config import VllmConfig

WORKER_MODULE = "anytime_server.engine.vllm.worker"
"""Must not be imported here: in a forked worker, the import would then have no effect."""
CPU_WORKER = "anytime_server.engine.vllm.cpu_worker.CpuWorker"
SIZED_BY_WORKER = 1
"""Bytes of the KV cache that stand for a size that `CpuWorker` chooses."""
CPU_KV_VARIABLE = "VLLM_CPU_KVCACHE_SPACE"
"""To vLLM: the size of the KV cache in GiB, which overrides the option."""
CPU_SEQS = 64
AUTO_WINDOW = -1
"""To vLLM: the longest window that the KV cache has room for, up to the model's."""
SYNONYMS = {"max_model_len": "window_tokens", "kv_cache_memory_bytes": "kv_cache_mib"}
"""Our options by vLLM's names for the same; either may be given."""
OF_DOWNLOADS = ("revision", "download_dir", "hf_token", "ignore_patterns")
"""Passed through, and also used when the server downloads the model."""


class VllmOptions(BaseModel):
    """Options of the vLLM engine; with None, vLLM chooses. Any other option of vLLM is passed through."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True, frozen=True)

    window_tokens: int | None = Field(default=None, ge=16)
    """Context length in tokens; by default the model's, or less where the KV cache has no room for it."""
    max_num_seqs: int | None = Field(default=None, ge=1)
    """Number of sequences that think at the same time; further requests wait. By default 64 on a CPU, and on
    a GPU vLLM's own default, 256 or 1024."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Type of the weights in memory; `auto` is the checkpoint's, or float32 on a CPU without bfloat16."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """Number of GPUs for one copy of the model."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of each GPU's memory to use (GPU only)."""
    kv_cache_mib: int | None = Field(default=None, ge=1)
    """Size of the KV cache in MiB. By default, on a GPU the rest of the memory that may be used; on a CPU as
    much as all sequences can use, at least 256 and at most half of the memory that is free once the weights
    are loaded."""

    @model_validator(mode="before")
    @classmethod
    def _as_fields(cls, values: Any) -> Any:
        """Accept dashes in names, as on the command line."""
        if not isinstance(values, dict):
            return values
        return {str(name).replace("-", "_"): value for name, value in values.items()}

    @property
    def passed_through(self) -> dict[str, Any]:
        """Options of vLLM by vLLM's own names."""
        return dict(self.model_extra or {})

    def require_usable(self) -> None:
        """Check all that can be checked without vLLM.

        Raises:
            UnusableOption: an option is unknown, set by the server itself, or given under two names.
        """
        passed = self.passed_through
        require_usable(passed, own_names=type(self).model_fields)
        for theirs, ours in SYNONYMS.items():
            if theirs in passed and getattr(self, ours) is not None:
                raise UnusableOption(f"{flag(theirs)}: is the same as {flag(ours)}, which is given too")

    def load(self, num_requests: int, *, max_num_seqs: int | None = None) -> EngineLoad:
        """The load of an engine with these options.

        Args:
            max_num_seqs: vLLM's own default, once it is known.
        """
        return EngineLoad(
            num_requests=num_requests, max_num_seqs=self.max_num_seqs or max_num_seqs or CPU_SEQS
        )


def engine_config(
    model: str,
    options: VllmOptions,
    *,
    on_cpu: bool,
    lora: dict[str, Any] | None = None,
    tokenizer: str | None = None,
) -> tuple[VllmConfig, int]:
    """vLLM's configuration, and the number of sequences that think at the same time.

    Args:
        lora: arguments that the served adapters need; options override them.
        tokenizer: folder of the tokenizer; by default the model's.

    Raises:
        UnusableOption: an option is unusable; names it.
        ValueError, ...: vLLM refuses the model.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext

    options.require_usable()
    passed = typed_values(options.passed_through)
    if on_cpu and lora and passed.get("max_loras", lora["max_loras"]) < lora["max_loras"]:
        raise UnusableOption(f"{flag('max_loras')}: must exceed the number of adapters on a CPU")
    context = UsageContext.OPENAI_API_SERVER  # its defaults are those of a server
    max_num_seqs, num_copies = options.max_num_seqs, passed.get("data_parallel_size") or 1
    if max_num_seqs is None and not on_cpu:
        default = AsyncEngineArgs.get_batch_defaults(_world_size(options, passed))[1].get(context)
        max_num_seqs = default and default * num_copies
    load = options.load(0, max_num_seqs=max_num_seqs)

    def configured(options: VllmOptions, passed: dict[str, Any]) -> VllmConfig:
        own = own_arguments(model, options, load, on_cpu=on_cpu)
        own["tokenizer"] = tokenizer or model
        own["max_num_seqs"] = -(-own["max_num_seqs"] // num_copies)  # of each copy of the model
        arguments = AsyncEngineArgs(**own | (lora or {}) | passed)
        if on_cpu and arguments.enable_chunked_prefill is None:
            # Hybrid models need it. On a CPU it gains nothing for others: their prompts take whole steps.
            arguments.enable_chunked_prefill = arguments.create_model_config().is_hybrid
        return arguments.create_engine_config(context)

    try:
        return configured(options, passed), load.max_num_seqs
    except Exception as error:
        defaults = VllmOptions()
        for name in options.model_fields_set:  # which of them does vLLM refuse?
            others = {other: value for other, value in passed.items() if other != name}
            own = {} if name in passed else {name: getattr(defaults, name)}
            try:
                configured(options.model_copy(update=own), others)
            except Exception:
                continue
            raise UnusableOption(f"{flag(name)}: {config_fault(error)}") from error
        raise


def own_arguments(model: str, options: VllmOptions, load: EngineLoad, *, on_cpu: bool) -> dict[str, Any]:
    """Arguments of `AsyncEngineArgs` that the server sets; those that are passed through come on top."""
    arguments: dict[str, Any] = {
        "model": model,
        "dtype": options.dtype,
        "max_model_len": options.window_tokens or AUTO_WINDOW,
        "max_num_seqs": load.max_num_seqs + load.num_spare_seqs,
        "tensor_parallel_size": options.tensor_parallel_size,
        "enable_prefix_caching": True,
        "scheduling_policy": "priority",
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "worker_extension_cls": f"{WORKER_MODULE}.WorkerExtension",
        "structured_outputs_config": STRUCTURED_OUTPUTS,
    }
    if options.kv_cache_mib is not None:
        arguments["kv_cache_memory_bytes"] = options.kv_cache_mib << 20
    if on_cpu:
        # Compilation takes half a minute and gains nothing when several requests share a step.
        arguments |= {"enforce_eager": True, "block_size": 32, "worker_cls": CPU_WORKER}
        is_sized = "kv_cache_memory_bytes" in {*arguments, *options.passed_through}
        if not is_sized and CPU_KV_VARIABLE not in os.environ:
            arguments["kv_cache_memory_bytes"] = SIZED_BY_WORKER
        if options.dtype == "auto" and not cpu_multiplies_bf16():
            arguments["dtype"] = "float32"
    else:
        arguments["gpu_memory_utilization"] = options.gpu_memory_utilization
    return arguments


def config_fault(error: Exception) -> str:
    """The reason of an error of vLLM's configuration in one line, without pydantic's heading."""
    from pydantic import ValidationError

    if isinstance(error, AnytimeError) or not isinstance(error, ValidationError):
        return first_line(error)
    return error.errors()[0]["msg"].removeprefix("Value error, ").splitlines()[0]


def downloads(options: VllmOptions) -> dict[str, Any]:
    """Options that apply when the model is downloaded, by vLLM's names."""
    passed = options.passed_through
    return {name: passed[name] for name in OF_DOWNLOADS if name in passed}


def loads_weights(options: VllmOptions) -> bool:
    """Whether vLLM reads the weights from safetensors files of the checkpoint."""
    return options.passed_through.get("load_format", "auto") in ("auto", "hf", "safetensors")


def trusts_remote_code(options: VllmOptions) -> bool:
    """Whether Python code of the checkpoint may run; vLLM checks the value."""
    return str(options.passed_through.get("trust_remote_code", False)).lower() in YES


def _world_size(options: VllmOptions, passed: dict[str, Any]) -> int:
    tensor, pipeline = passed.get("tensor_parallel_size"), passed.get("pipeline_parallel_size")
    return (tensor or options.tensor_parallel_size) * (pipeline or 1)
