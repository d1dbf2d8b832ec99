"""The vLLM engine: `AsyncLLM` in this process, its engine core in another process."""

from anytime_server.engine.vllm.engine import VllmEngine, VllmOptions

__all__ = ["VllmEngine", "VllmOptions"]
