"""What one API key may use, and what it uses at present."""

from __future__ import annotations


class Account:
    """One key's."""

    def __init__(self, name: str) -> None:
        self.name = name
        """What logs and metrics call it."""

    def admit(self, budget_tokens: int) -> Admission:
        """Count one session in, which may think for so many tokens.

        Raises:
            RateLimited: it would be over a limit.
        """
        return Admission(self, budget_tokens)


class Admission:
    """One session that is counted in."""

    def __init__(self, account: Account, budget_tokens: int) -> None:
        self.account = account
        self.budget_tokens = budget_tokens
        """Thinking tokens that are set aside for it."""

    def extend(self, tokens: int) -> None:
        """Set more aside.

        Raises:
            RateLimited: it would be over a limit.
        """
        self.budget_tokens += tokens

    def end(self, thinking_tokens: int) -> None:
        """The session is over: give back what it did not use."""
