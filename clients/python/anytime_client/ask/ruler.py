"""A ruler of thinking tokens: progress towards the budget, and the positions of the early answers."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

MAX_WIDTH = 60
DONE, REMAINING, ANSWERED, PLANNED = "━", "─", "◆", "◇"


class Ruler:
    """Renders as one line."""

    def __init__(self, budgets: Sequence[int] = ()) -> None:
        """
        Args:
            budgets: thinking tokens at which early answers were requested.
        """
        self._budgets = budgets
        self.budget_tokens: int | None = None
        """None until `started` has been received."""
        self.tokens = 0
        self.answered_at: list[int] = []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        budget_tokens = self.budget_tokens or 0
        count = f"{self.tokens} of {budget_tokens} tokens"
        width = max(min(options.max_width - len(count) - 1, MAX_WIDTH), 1)

        def cell(tokens: int) -> int:
            return min(width * tokens // max(budget_tokens, 1), width - 1)

        num_done = width * self.tokens // budget_tokens if budget_tokens else width
        cells = [(DONE, "cyan") if i < num_done else (REMAINING, "dim") for i in range(width)]
        for tokens in self._budgets:
            if tokens <= budget_tokens:
                cells[cell(tokens)] = (PLANNED, "dim")
        for tokens in self.answered_at:
            cells[cell(tokens)] = (ANSWERED, "yellow")
        yield Text.assemble(*cells, " ", (count, "dim"), no_wrap=True, overflow="crop")
