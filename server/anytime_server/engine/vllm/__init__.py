"""The vLLM engine: `AsyncLLM` in this process, its engine core in a process of its own."""

from anytime_server.engine.vllm.engine import VllmEngine, VllmOptions

__all__ = ["VllmEngine", "VllmOptions"]
