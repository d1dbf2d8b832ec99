"""The vLLM engine: `AsyncLLM` in this process, its engine core in another process."""

from anytime_server.engine.vllm.arguments import VllmOptions
from anytime_server.engine.vllm.engine import VllmEngine

__all__ = ["VllmEngine", "VllmOptions"]
