"""The sockets that the server listens on. They are bound before models load, so that a port in use is told at once."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys

_NOT_SENT_LOW_WATER = getattr(socket, "TCP_NOTSENT_LOWAT", 25 if sys.platform == "linux" else 0x201)
_MOST_NOT_SENT = 64 * 1024


class AddressError(Exception):
    """The server cannot listen there; the message is one line."""


def bind(host: str, port: int) -> list[socket.socket]:
    """Bind every address of `host`. Nothing is accepted yet: until the server is ready, clients are refused.

    Raises:
        AddressError: The address is in use, not of this machine, or not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise AddressError(f"cannot listen on {host}: {error.strerror or error}") from None
    sockets: list[socket.socket] = []
    failures: list[OSError] = []
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            sock = _bind(family, (address[0], port or _port(sockets), *address[2:]))
        except OSError as error:
            failures.append(error)
        else:
            sockets.append(sock)
    # `localhost` often has an IPv6 address that the machine lacks: that alone does no harm.
    serious = [error for error in failures if error.errno != errno.EADDRNOTAVAIL or not sockets]
    if serious:
        for sock in sockets:
            sock.close()
        raise AddressError(refusal(host, port, serious[0]))
    return sockets


def refusal(host: str, port: int, error: OSError) -> str:
    """Say in one line why an address cannot be had."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; choose another with --port"
    return f"cannot listen on {host} port {port}: {error.strerror or error}"


def base_url(host: str, sockets: list[socket.socket]) -> str:
    """The URL of the server, with an address that a client on this machine can use."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  the key is looked up, not listened on
    return f"http://{f'[{host}]' if ':' in host else host}:{_port(sockets)}"


def _bind(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            # Inherited by what it accepts: the system takes little more than the client reads, so that one who does
            # not read is noticed by the first tens of kilobytes, not by the first megabytes.
            sock.setsockopt(socket.IPPROTO_TCP, _NOT_SENT_LOW_WATER, _MOST_NOT_SENT)
        if family == socket.AF_INET6:
            with contextlib.suppress(AttributeError, OSError):
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def _port(sockets: list[socket.socket]) -> int:
    return sockets[0].getsockname()[1] if sockets else 0
