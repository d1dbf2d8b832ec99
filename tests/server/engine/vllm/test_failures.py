"""Reasons why vLLM's core does not start, as the server reports them."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

import pytest
from anytime_server.engine.vllm.failures import (
    REGISTRY,
    VARIABLE,
    architecture_fault,
    keep_architecture_faults,
    reason_file,
    start_fault,
)
from anytime_server.errors import UnusableModel

TOO_LONG = (
    "To serve at least one request with the model's max seq len (40960), (4.38 GiB KV cache is needed, which "
    "is larger than the available KV cache memory (0.25 GiB). Based on the available memory, the estimated "
    "maximum model length is 2304. Try increasing `gpu_memory_utilization` or decreasing `max_model_len`."
)
WINDOW = (
    "a window of 40960 tokens needs 4.38 GiB of KV cache, more than the 0.25 GiB that there are, which has "
    "room for 2304 tokens; lower --vllm.window-tokens or raise"
)


@pytest.mark.parametrize(
    ("line", "on_cpu", "fault"),
    [
        (TOO_LONG, True, f"{WINDOW} --vllm.kv-cache-mib"),
        (TOO_LONG, False, f"{WINDOW} --vllm.gpu-memory-utilization"),
        (
            "No available memory for the cache blocks. Try increasing `gpu_memory_utilization`.",
            False,
            "no memory is left for the KV cache: raise --vllm.gpu-memory-utilization",
        ),
        (
            "Decrease --kv-cache-memory-bytes, or `max_model_len`.",
            True,
            "Decrease --vllm.kv-cache-mib, or --vllm.window-tokens.",
        ),
        ("out of paper", True, "out of paper"),
    ],
)
def test_advice_names_our_options(tmp_path: Path, line: str, on_cpu: bool, fault: str) -> None:
    path = tmp_path / "reason"
    path.write_text(line)
    assert start_fault(path, on_cpu=on_cpu) == fault


def test_without_a_reason_there_is_no_fault(tmp_path: Path) -> None:
    assert start_fault(tmp_path / "reason", on_cpu=True) is None


@pytest.mark.parametrize("message", ["EngineCore failed to start.", "EngineCore encountered a fatal error."])
def test_the_first_failure_of_a_forked_process_is_the_reason(message: str) -> None:
    logger = logging.getLogger("vllm.v1.engine.core")
    with reason_file() as path:
        if (child := os.fork()) == 0:
            for text in ("the cause", "what follows"):
                try:
                    raise ValueError(f"{text}\nand details")
                except ValueError:
                    logger.exception(message)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        assert start_fault(path, on_cpu=True) == "the cause"
    assert VARIABLE not in os.environ


def test_an_architecture_that_cannot_be_imported_is_named_with_the_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    keep_architecture_faults()
    trace = "Traceback (most recent call last):\n  File ...\nModuleNotFoundError: No module named 'vision'\n"
    try:
        raise RuntimeError(f"Error raised in subprocess:\n{trace}")
    except RuntimeError:
        logging.getLogger(REGISTRY).exception(
            "Error in inspecting model architecture '%s'", "SeesForCausalLM"
        )
    line = "Model architectures ['SeesForCausalLM'] failed to be inspected. Please check the logs."
    reason = "it cannot import SeesForCausalLM: ModuleNotFoundError: No module named 'vision'"
    assert architecture_fault(line) == reason
    assert architecture_fault("out of paper") == "out of paper"
    assert not caplog.records


@pytest.mark.nightly
async def test_a_model_that_fails_at_its_first_step_is_refused_with_the_reason(
    tiny_checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from anytime_server.engine.vllm import VllmEngine, VllmOptions

    options = VllmOptions.model_validate({"logits_processors": ["tests.families.forced:FailingStep"]})
    engine = VllmEngine(tiny_checkpoint, options=options)
    try:
        with pytest.raises(UnusableModel, match=r"cannot run .*: this kernel is for another platform"):
            await engine.start()
    finally:
        await engine.stop()
    assert "Traceback" not in "".join(capfd.readouterr())
