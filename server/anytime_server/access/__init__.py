"""Who may ask, and how much. Knows nothing of HTTP and of sessions."""

from anytime_server.access.account import Account, Admission, Limits
from anytime_server.access.keyring import Keyring

__all__ = ["Account", "Admission", "Keyring", "Limits"]
