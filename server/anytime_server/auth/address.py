"""The addresses to which the limits for clients without a valid key apply."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network


def limited_address(host: str) -> str:
    """The address that a limit counts: of IPv6 the network /64, which is one customer's.

    Args:
        host: address of a client; another text is returned unchanged.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(ip_network((address, 64), strict=False))
    return host
