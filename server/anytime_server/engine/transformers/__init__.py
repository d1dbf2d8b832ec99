"""The transformers engine: batched decoding in this process, with a prefix cache, without vLLM."""

from anytime_server.engine.transformers.engine import TransformersEngine, TransformersOptions

__all__ = ["TransformersEngine", "TransformersOptions"]
