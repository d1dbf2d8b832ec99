"""Why vLLM cannot load a model, in one line.

vLLM logs stack traces, and reports only that there was one: from the core's process, and where it cannot
import an architecture. `VLLM_LOGGING_LEVEL=INFO` shows the stack traces too.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from anytime_server.errors import first_line

VARIABLE = "ANYTIME_ENGINE_FAILURE"
"""Names the file for the reason, for the processes of the engine."""
LOGGERS = ("vllm.v1.engine.core", "vllm.v1.executor.multiproc_executor")
DUMPS = "vllm.logging_utils.dump_input"
"""vLLM logs its whole state when a step fails."""
FAILURES = (
    *("EngineCore failed to start", "WorkerProc failed to start"),
    *("EngineCore encountered a fatal error", "WorkerProc hit an exception"),
)
"""Beginnings of the messages with which vLLM logs what ended a process."""
WINDOW_TOO_LONG = re.compile(
    r"max seq len \((?P<window>\d+)\), \((?P<needed>[\d.]+) GiB KV cache is needed.*"
    r"memory \((?P<size>[\d.]+) GiB\)\.(?:.* length is (?P<fits>\d+)\.)?"
)
REGISTRY = "vllm.model_executor.models.registry"
NOT_INSPECTED = "Error in inspecting model architecture"
_not_inspected: dict[str, str] = {}
"""Reasons by architecture; vLLM tries to import each only once in a process."""
ADVICE = {
    "gpu_memory_utilization": "--vllm.gpu-memory-utilization",
    "--gpu-memory-utilization": "--vllm.gpu-memory-utilization",
    "--kv-cache-memory-bytes": "--vllm.kv-cache-mib",
    "max_model_len": "--vllm.window-tokens",
    "max_num_seqs": "--vllm.max-num-seqs",
}


@contextmanager
def reason_file() -> Iterator[Path]:
    """The file in which the processes that are started within the block leave why they fail within it."""
    with tempfile.TemporaryDirectory(prefix="anytime-start-") as folder:
        path = Path(folder, "reason")
        os.environ[VARIABLE] = str(path)
        report_failures()  # for forked processes
        try:
            yield path
        finally:
            del os.environ[VARIABLE]


def report_failures() -> None:
    """Have vLLM's report of a failure left in the file, in this process and those that it forks."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if _leaves_reason not in logger.filters:
            logger.addFilter(_leaves_reason)
    if _is_verbose not in (dumps := logging.getLogger(DUMPS)).filters:
        dumps.addFilter(_is_verbose)


def _leaves_reason(record: logging.LogRecord) -> bool:
    """Log filter: the first failure is the cause of those that follow."""
    path, error = os.environ.get(VARIABLE), record.exc_info and record.exc_info[1]
    if path is None or error is None or not record.getMessage().startswith(FAILURES):
        return True
    try:
        with suppress(FileExistsError), open(path, "x", encoding="utf-8") as file:
            file.write(first_line(error))
    except OSError:  # the model has started, and the file is gone
        return True
    if _is_verbose(record):
        return True
    # This process ends now; multiprocessing would print the stack trace on standard error once more.
    with suppress(OSError), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    return False


def keep_architecture_faults() -> None:
    """Have vLLM's reports of architectures that it cannot import kept for `architecture_fault()`."""
    logger = logging.getLogger(REGISTRY)
    if _keeps_reason not in logger.filters:
        logger.addFilter(_keeps_reason)


def _keeps_reason(record: logging.LogRecord) -> bool:
    """Log filter: the error is a RuntimeError with a whole stack trace as its text."""
    error = record.exc_info and record.exc_info[1]
    if not error or not isinstance(record.args, tuple) or not str(record.msg).startswith(NOT_INSPECTED):
        return True
    _not_inspected[str(record.args[0])] = str(error).strip().splitlines()[-1].strip()
    return _is_verbose(record)


def _is_verbose(record: logging.LogRecord) -> bool:
    """Log filter: whether vLLM is to log all."""
    return os.environ.get("VLLM_LOGGING_LEVEL", "ERROR") != "ERROR"


def architecture_fault(line: str) -> str:
    """The reason of an error of vLLM's configuration, where the error only refers to the log."""
    for name, reason in _not_inspected.items():
        if f"['{name}'] failed to be inspected" in line:
            return f"it cannot import {name}: {reason}"
    return line


def start_fault(path: Path, *, on_cpu: bool) -> str | None:
    """The reason in a file of `reason_file()`, with our names of options; None if there is none."""
    try:
        line = path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    memory = "--vllm.kv-cache-mib" if on_cpu else "--vllm.gpu-memory-utilization"
    if (found := WINDOW_TOO_LONG.search(line)) is not None:
        fits = f", which has room for {found['fits']} tokens" if found["fits"] else ""
        return (
            f"a window of {found['window']} tokens needs {found['needed']} GiB of KV cache, more than the "
            f"{found['size']} GiB that there are{fits}; lower --vllm.window-tokens or raise {memory}"
        )
    if line.startswith(("No available memory for the cache blocks", "Cannot auto-fit")):
        return f"no memory is left for the KV cache: raise {memory}"
    return re.sub(r"`?(?<![\w.])([\w-]+)`?", lambda word: ADVICE.get(word[1], word[0]), line)
