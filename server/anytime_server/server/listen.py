"""The listening socket: its address, its options, who must not inherit it, and the limit of open files."""

from __future__ import annotations

import errno
import os
import resource
import socket
from contextlib import suppress
from ipaddress import ip_address
from socket import AF_INET, AF_INET6
from typing import Any

from anytime_server.errors import UnusableOption


def listen(
    host: str, port: int, *, allow_remote: bool = True, client_stall_s: float | None = None
) -> socket.socket:
    """Open a listening socket. Processes forked from this one close it and its connections.

    Args:
        host: name or address; empty for all addresses of this machine.
        port: 0 for a free port.
        allow_remote: whether the address may be reachable from other machines.
        client_stall_s: seconds without an acknowledgement after which the kernel disconnects a client.

    Raises:
        UnusableOption: names --host or --port.
    """
    family, address = _address(host, port)
    if not allow_remote and not ip_address(address[0]).is_loopback:
        raise UnusableOption(
            f"--host: other machines can reach {host or 'all addresses of this machine'}, and there are no "
            "API keys: give --keys, or --allow-anonymous to serve every client"
        )
    try:
        listener = socket.create_server(address, family=family, backlog=2048)
    except OSError as error:
        option = "host" if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) else "port"
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UnusableOption(f"--{option}: cannot listen on {host}, port {port}: {reason}") from error
    if client_stall_s is not None:  # inherited by the connections
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(client_stall_s * 1000))
    own_port = listener.getsockname()[1]
    os.register_at_fork(after_in_child=lambda: _close_inherited_sockets(own_port))
    return listener


def url_of(listener: socket.socket, *, scheme: str = "http") -> str:
    """The URL of a server on this socket."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard one: each connection is a file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # a system may have a lower limit that it does not show
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _address(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    """Address family and address to bind, IPv4 if there is one."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise UnusableOption(f"--host: {host!r} is no address of this machine") from error
    family, _, _, _, address = min(found, key=lambda one: one[0] != AF_INET)
    return family, address


def _close_inherited_sockets(port: int) -> None:
    """Close the server's sockets in a forked engine, so that they end with the server.

    By file descriptor: the event loop keeps a socket object from closing.
    """
    for name in os.listdir("/proc/self/fd"):
        try:
            inherited = socket.socket(fileno=int(name))
        except OSError:
            continue  # not a socket
        is_of_the_server = inherited.family in (AF_INET, AF_INET6) and inherited.getsockname()[1] == port
        inherited.close() if is_of_the_server else inherited.detach()
