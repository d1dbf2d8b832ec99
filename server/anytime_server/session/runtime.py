"""Objects that all sessions of one model share."""

from __future__ import annotations

from dataclasses import dataclass

from anytime_server.engine import Engine
from anytime_server.errors import UnknownModel
from anytime_server.printable import is_encodable
from anytime_server.session.continuation import ContinuationSigner
from anytime_server.session.latency import LatencyEstimator
from anytime_server.text.model import Model

ANY_NAME = "*"
"""An alias that stands for every name."""
MAX_NAME_CHARACTERS = 256
"""Of such a name: responses have it in every chunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A model on an engine, with its latency estimates and its signing key."""

    engine: Engine
    model: Model
    latency: LatencyEstimator
    signer: ContinuationSigner
    adapters: tuple[str, ...] = ()
    """Names of the engine's LoRA adapters."""
    aliases: tuple[str, ...] = ()
    """Other names of the model; `*` is every name."""

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names that clients can know, the model's own first."""
        return (*self._own_names, *(alias for alias in self.aliases if alias != ANY_NAME))

    @property
    def _own_names(self) -> tuple[str, ...]:
        return (self.model.name, *self.adapters)

    def alias_of(self, name: str | None) -> str | None:
        """The alias that a name is, `*` for one that is not listed; None for the names of model and adapters.

        Raises:
            UnknownModel: that model is not served.
        """
        if name is None or name in self._own_names:
            return None
        if name in self.aliases:
            return name
        if ANY_NAME in self.aliases and len(name) <= MAX_NAME_CHARACTERS and is_encodable(name):
            return ANY_NAME
        served = ", ".join(map(repr, self.model_names))
        raise UnknownModel(f"no model {name!r} is served here, only {served}", field="model")

    def label_of(self, name: str | None) -> str:
        """A name for metrics: one that the server was given, in place of one that only `*` takes."""
        return name if name in self.model_names else self.model.name

    def require_name(self, name: str | None) -> None:
        """Pass if that model is served; None stands for the model itself.

        Raises:
            UnknownModel: it is not.
        """
        self.alias_of(name)
