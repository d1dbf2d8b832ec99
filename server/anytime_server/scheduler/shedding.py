"""Load shedding: past what the engine has room for, thinking is shortened.

The number of waiting sessions decides by how much; the checkpoint's accuracy curve decides where. Tokens are
saved where they cost the least accuracy: of two neighbouring budgets on the upper hull of that curve, some
sessions get the one and some the other, so that on average they use what there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from anytime_server.errors import UnusableOption
from anytime_server.reasoning import AccuracyPoint

GAIN = 8.0
"""How steeply thinking is shortened: with as many waiting as the engine has slots, to 1 / (1 + GAIN)."""


class LoadShedder:
    """Limits thinking while sessions wait."""

    def __init__(self, curve: Sequence[AccuracyPoint]) -> None:
        """
        Args:
            curve: accuracy by budget.

        Raises:
            UnusableOption: the curve has fewer than two budgets.
        """
        self._hull = upper_hull([(point.budget, point.accuracy) for point in curve])
        if len(self._hull) < 2:
            raise UnusableOption(
                "--shed: the checkpoint's manifest has no accuracy at two budgets or more; "
                "`anytime evaluate` measures it"
            )

    def thinking_limit(self, draw: float, *, num_wanted: int, num_slots: int) -> int | None:
        """The most thinking tokens of a session at present; None where no session waits.

        Args:
            draw: in [0, 1), the session's own: the higher of two budgets goes to draws below a share.
            num_wanted: slots that waiting sessions want.
            num_slots: slots for thinking that the engine has.
        """
        if num_wanted == 0:
            return None
        share = 1 / (1 + GAIN * num_wanted / num_slots)
        (smallest, _), (largest, _) = self._hull[0], self._hull[-1]
        return self._budget(max(smallest, share * largest), draw)

    def _budget(self, mean_tokens: float, draw: float) -> int:
        """One of the two budgets around `mean_tokens`, so that over all draws that is their mean."""
        for (lower, _), (higher, _) in pairwise(self._hull):
            if mean_tokens <= higher:
                return higher if draw < (mean_tokens - lower) / (higher - lower) else lower
        return self._hull[-1][0]


def upper_hull(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """The (budget, accuracy) points that no mixture of two others equals or beats; both ascend strictly."""
    hull: list[tuple[int, float]] = []
    for budget, accuracy in sorted(points):
        if hull and accuracy <= hull[-1][1]:
            continue  # longer, and no better
        while len(hull) >= 2:
            (b1, a1), (b2, a2) = hull[-2:]
            if (a2 - a1) * (budget - b1) > (accuracy - a1) * (b2 - b1) + 1e-9:
                break
            hull.pop()
        hull.append((budget, accuracy))
    return hull
