"""The transformers engine: batched decoding with a prefix cache in this process, without vLLM."""

from anytime_server.engine.transformers.engine import TransformersEngine, TransformersOptions

__all__ = ["TransformersEngine", "TransformersOptions"]
