"""Who may ask, and how much. Knows nothing of HTTP and of sessions."""

from anytime_server.auth.account import Account, Admission, Limits
from anytime_server.auth.keyring import Keyring

__all__ = ["Account", "Admission", "Keyring", "Limits"]
