"""HTTPS to a host that somebody else named: to public addresses only, checked where it is dialled.

A name is resolved once, all its addresses must be public, and the connection goes to one of those:
what DNS says a moment later does not matter. The certificate must be the name's all the same.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any, Final
from urllib.request import getproxies

import httpcore
import httpx

from phonoscene.errors import AddressRefused

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address
    from ssl import SSLContext

#: Addresses that stand for an IPv4 address behind a gateway (RFC 6052).
_NAT64: Final = IPv6Network("64:ff9b::/96")


def public_client(timeout: httpx.Timeout) -> httpx.Client:
    """A client that follows no redirect, sends no credentials, and dials public addresses only.

    Where the environment names a proxy for HTTPS, everything goes through it, and which addresses
    can be reached is the proxy's to say.
    """
    proxy, context = getproxies().get("https"), httpx.create_ssl_context()
    transport = (
        httpx.HTTPTransport(verify=context, proxy=proxy) if proxy else PublicTransport(context)
    )
    # trust_env would read ~/.netrc, and NO_PROXY, whose hosts nobody would check
    return httpx.Client(
        transport=transport, timeout=timeout, follow_redirects=False, trust_env=False
    )


class PublicTransport(httpx.HTTPTransport):
    """httpx's own transport over ``PublicNetwork``."""

    def __init__(self, context: SSLContext) -> None:
        super().__init__(verify=context)
        self._pool = httpcore.ConnectionPool(  # httpx has no option for the network below
            ssl_context=context, network_backend=PublicNetwork()
        )


class PublicNetwork(httpcore.NetworkBackend):
    """Opens connections to public addresses, and to no other."""

    def __init__(self, network: httpcore.NetworkBackend | None = None) -> None:
        self._network = network or httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Dial the first address that answers.

        Raises:
            AddressRefused: the name has an address that is not public.
        """
        *others, last = map(str, _resolved(host, port))
        rest = (port, timeout, local_address, socket_options)
        for address in others:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return self._network.connect_tcp(address, *rest)
        return self._network.connect_tcp(last, *rest)


def _resolved(host: str, port: int) -> list[IPv4Address | IPv6Address]:
    """All addresses of a name, IPv4 first: Lambda has no IPv6 outside of a VPC."""
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise httpcore.ConnectError(f"{host} is not known") from exc
    addresses = sorted(
        {ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers},
        key=lambda address: (address.version, address.packed),
    )
    if not addresses or not all(map(is_public, addresses)):
        raise AddressRefused(f"{host} leads to an address that is not public")
    return addresses


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one of the internet's, and of no network inside or behind it."""
    within = _embedded(address) if isinstance(address, IPv6Address) else None
    if within is not None:
        return is_public(within)
    return address.is_global and not address.is_multicast


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if address in _NAT64:
        found = ip_address(address.packed[-4:])
        return found if not isinstance(found, IPv6Address) else None
    return address.ipv4_mapped or address.sixtofour
