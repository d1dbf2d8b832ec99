"""Who may ask, and how much. Knows nothing of HTTP and of sessions."""

from anytime_server.access.account import Account, Admission

__all__ = ["Account", "Admission"]
