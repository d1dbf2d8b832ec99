"""The process that an engine runs in: what it reads from its environment, and its allocator."""

from __future__ import annotations

import os
import sys
from pathlib import Path

QUIET = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TOKENIZERS_PARALLELISM": "false",
}
ON_CPU = {
    # Two processes (server and engine core) with two OpenMP threads each, on two cores, slow
    # each other down several-fold.
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # The worker then shares the engine core's process; `AsyncLLM` has a core process all the same.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # vLLM compiles a part of its sampler, which needs a C++ compiler; here it is slower than as it is.
    # Training, too, compiles for GPUs alone.
    "TORCHDYNAMO_DISABLE": "1",
}


SERVER_PID = "ANYTIME_ENGINE_SERVER_PID"
"""Tells the processes of an engine which one started it."""


def gpu_is_there() -> bool:
    """Whether this machine has an NVIDIA driver; asked without importing torch."""
    return Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()  # the latter under WSL


def cpu_multiplies_bf16() -> bool:
    """Whether the processor has bfloat16 products built in; without, they are slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return any(f" {name} " in flags for name in ("avx512_bf16", "amx_bf16", "bf16"))


def prepare_environment() -> None:
    """Set what vLLM and torch read from the environment, where the user has not.

    To be called before anything imports torch, which reads some of it at its import.
    """
    for name, value in (QUIET if gpu_is_there() else QUIET | ON_CPU).items():
        os.environ.setdefault(name, value)


def preload_allocator() -> None:
    """Start this process again with tcmalloc, where it is installed and there is no GPU.

    PyTorch on a CPU spends a good part of its time in page faults under glibc's allocator.
    """
    library = next(iter(sorted(Path("/usr/lib").glob("*/libtcmalloc_minimal.so.4"))), None)
    if library is None or "LD_PRELOAD" in os.environ or gpu_is_there():
        return
    os.environ["LD_PRELOAD"] = str(library)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
