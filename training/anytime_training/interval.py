"""Intervals for shares, and for differences between what two models got right."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054


def wilson_interval(num_right: int, num_tried: int) -> tuple[float, float]:
    """95% score interval of a share (Wilson 1927, equation 4), within [0, 1]."""
    share, z2 = num_right / num_tried, Z_95**2
    centre = (share + z2 / (2 * num_tried)) / (1 + z2 / num_tried)
    half = Z_95 * math.sqrt(share * (1 - share) / num_tried + z2 / (4 * num_tried**2)) / (1 + z2 / num_tried)
    return max(0.0, centre - half), min(1.0, centre + half)
