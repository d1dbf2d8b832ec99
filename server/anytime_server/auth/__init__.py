"""API keys, their accounts and their limits. Knows nothing of HTTP or sessions."""

from anytime_server.auth.account import Account, Admission
from anytime_server.auth.address import limited_address
from anytime_server.auth.keyring import Keyring
from anytime_server.auth.keys import Role
from anytime_server.auth.limits import Cost, Limits
from anytime_server.auth.refusals import Refusals
from anytime_server.auth.request_limits import RequestLimits, combined

__all__ = [
    "Account",
    "Admission",
    "Cost",
    "Keyring",
    "Limits",
    "Refusals",
    "RequestLimits",
    "Role",
    "combined",
    "limited_address",
]
