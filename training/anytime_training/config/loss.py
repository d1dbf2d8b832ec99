"""The loss, as recipes set it. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveFloat

from anytime_training.section import Section


def _none_if_off(value: Any) -> Any:
    """TOML has no null."""
    return None if value == "off" else value


class LossConfig(Section):
    """The clipped policy gradient."""

    clip_low: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """A token whose probability has fallen by more than this share is pushed down no further."""
    clip_high: NonNegativeFloat = 0.2
    """A token whose probability has risen by more than this share is pushed up no further."""
    kl_coefficient: NonNegativeFloat = 0.0
    """Weight of the divergence from the reference model; 0 needs none."""
    importance_cap: Annotated[PositiveFloat | None, BeforeValidator(_none_if_off)] = 2.0
    """Tokens are weighted by the trainer's probability over the sampler's, at most by this ("off": by 1)."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradients longer than this are shortened to it."""
