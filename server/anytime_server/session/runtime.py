"""Objects that all sessions of one model share."""

from __future__ import annotations

from dataclasses import dataclass

from anytime_server.engine import Engine
from anytime_server.session.continuation import ContinuationSigner
from anytime_server.session.latency import LatencyEstimator
from anytime_server.text.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A model on an engine, with its latency estimates and its signing key."""

    engine: Engine
    model: Model
    latency: LatencyEstimator
    signer: ContinuationSigner
