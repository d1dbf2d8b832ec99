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
    """Clip the importance ratio at 1 minus this."""
    clip_high: NonNegativeFloat = 0.2
    """Clip the importance ratio at 1 plus this."""
    kl_coefficient: NonNegativeFloat = 0.0
    """Weight of the KL divergence from the reference model, which is the start checkpoint; 0 loads none."""
    importance_cap: Annotated[PositiveFloat | None, BeforeValidator(_none_if_off)] = 2.0
    """Cap of the importance weight, the trainer's probability over the sampler's ("off": weights are 1)."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradient clipping: the largest norm."""
