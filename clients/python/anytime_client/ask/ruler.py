"""A ruler of thinking tokens: how far it is along its budget, and where answers came on the way."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

LONGEST = 60
DONE, LEFT, ANSWERED, EXPECTED = "━", "─", "◆", "◇"


class Ruler:
    """Renders as one line."""

    def __init__(self, budgets: Sequence[int] = ()) -> None:
        """
        Args:
            budgets: where answers were asked for.
        """
        self._budgets = budgets
        self.budget_tokens: int | None = None
        """None until it is known."""
        self.tokens = 0
        self.answered_at: list[int] = []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        budget_tokens = self.budget_tokens or 0
        count = f"{self.tokens} of {budget_tokens} tokens"
        width = max(min(options.max_width - len(count) - 1, LONGEST), 1)

        def cell(tokens: int) -> int:
            return min(width * tokens // max(budget_tokens, 1), width - 1)

        num_done = width * self.tokens // budget_tokens if budget_tokens else width
        cells = [(DONE, "cyan") if i < num_done else (LEFT, "dim") for i in range(width)]
        for tokens in self._budgets:
            if tokens <= budget_tokens:
                cells[cell(tokens)] = (EXPECTED, "dim")
        for tokens in self.answered_at:
            cells[cell(tokens)] = (ANSWERED, "yellow")
        yield Text.assemble(*cells, " ", (count, "dim"), no_wrap=True, overflow="crop")
