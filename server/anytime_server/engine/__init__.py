"""Engines: token ids in, deltas of token ids out.

`base` is the interface. Each implementation is imported only if it is chosen.
"""

from anytime_server.engine.base import (
    Delta,
    Engine,
    EngineLoad,
    EngineRequest,
    FinishReason,
    Generation,
    Sampling,
)

__all__ = ["Delta", "Engine", "EngineLoad", "EngineRequest", "FinishReason", "Generation", "Sampling"]
