"""Engines: token ids in, deltas of token ids out.

`base` is the interface; each other module is one implementation, imported only when chosen.
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
