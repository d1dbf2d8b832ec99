"""API keys, their accounts and their limits. Knows nothing of HTTP or sessions."""

from anytime_server.auth.account import Account, Admission, Limits
from anytime_server.auth.keyring import Keyring

__all__ = ["Account", "Admission", "Keyring", "Limits"]
