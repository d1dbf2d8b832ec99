"""Objects that all sessions of one model share."""

from __future__ import annotations

from dataclasses import dataclass

from anytime_server.engine import Engine
from anytime_server.errors import UnknownModel
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
    adapters: tuple[str, ...] = ()
    """Names of the engine's LoRA adapters."""

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names that clients may ask for, the model's own first."""
        return (self.model.name, *self.adapters)

    def require_name(self, name: str | None) -> None:
        """Pass if that model is served; None stands for the model itself.

        Raises:
            UnknownModel: it is not.
        """
        if name is not None and name not in self.model_names:
            served = ", ".join(map(repr, self.model_names))
            raise UnknownModel(f"no model {name!r} is served here, only {served}", field="model")
