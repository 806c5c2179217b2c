"""HTTPS to a host that somebody else named: to public addresses only, checked where it is dialled.

A name is resolved once, all its addresses must be public, and the connection goes to one of those:
what DNS says a moment later does not matter. The certificate must be the name's all the same.
Redirects are not followed, and nothing is sent but what the caller says.
"""

from __future__ import annotations

import base64
import socket
import ssl
from contextlib import closing, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

from phonoscene.errors import AddressRefused
from phonoscene.net.deadlines import Deadline
from phonoscene.version import USER_AGENT

if TYPE_CHECKING:
    from ipaddress import IPv4Address
    from urllib.parse import SplitResult

HTTPS: Final = 443
#: Some firewalls refuse a request without one.
AGENT: Final = {"User-Agent": USER_AGENT}
#: So many answers may come before the answer itself.
MAX_HINTS: Final = 10
#: Addresses that end with the IPv4 address that they stand for: behind a gateway (RFC 6052), and
#: the older "compatible" and "translated" ones (RFC 4291, RFC 2765).
_WITH_IPV4: Final = tuple(map(IPv6Network, ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96")))


@dataclass(frozen=True)
class Timeout:
    """Seconds until a connection is open, and seconds that each read and write may take."""

    connect: float
    read: float


def tls_context() -> ssl.SSLContext:
    """Certificates are checked by the system's authorities, or by those in ``SSL_CERT_FILE``."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def dial(
    host: str,
    port: int,
    context: ssl.SSLContext,
    timeout: Timeout,
    deadline: Deadline | None = None,
) -> HTTPSConnection:
    """An open connection; through the environment's proxy where it names one for HTTPS.

    ``deadline`` watches it, from before the proxy and TLS have a say.

    A proxy gets everything, whatever NO_PROXY says: which addresses can be reached is its to say.

    Raises:
        AddressRefused: the name has an address that is not public.
        OSError: the host does not answer, or not with that name's certificate.
    """
    proxy = getproxies().get("https")
    connection = (
        _Tunnel(proxy, host, port, context=context, timeout=timeout.connect)
        if proxy
        else _Direct(host, port, context=context, timeout=timeout.connect)
    )
    try:
        connection.deadline = deadline
        connection.connect()
    except UnicodeError as exc:  # a label of more than 63 letters
        connection.close()
        raise OSError(f"{host[:100]!r} is not a valid host name") from exc
    except BaseException:
        connection.close()
        raise
    if deadline and connection.watched:
        deadline.watch_instead(connection.watched, connection.sock)
    connection.sock.settimeout(timeout.read)
    connection.response_class = _Response
    return connection


class _Response(HTTPResponse):
    """An answer, without those that only announce it (RFC 9110, 15.2): Python passes over 100."""

    def begin(self) -> None:
        """Read the head of the answer."""
        for _ in range(MAX_HINTS):
            super().begin()
            is_hint = self.status < HTTPStatus.OK
            if not is_hint or self.status == HTTPStatus.SWITCHING_PROTOCOLS:
                return
            nothing_read: Any = None  # as it is before the first head
            self.headers = nothing_read
        raise HTTPException("one interim answer after another")


class _Direct(HTTPSConnection):
    """A connection whose address is checked."""

    deadline: Deadline | None = None
    watched: socket.socket | None = None

    def __init__(self, host: str, port: int, *, context: ssl.SSLContext, timeout: float) -> None:
        super().__init__(host, port, context=context, timeout=timeout)
        self._tls, self._seconds = context, timeout

    def connect(self) -> None:
        """Open it; http.client calls this by itself where a connection was closed."""
        plain = connect_public(self.host, self.port, self._seconds)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.deadline:
            self.watched = self.deadline.watch(plain)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


class _Tunnel(HTTPSConnection):
    """A connection by way of a proxy."""

    deadline: Deadline | None = None
    watched: socket.socket | None = None

    def __init__(
        self, proxy: str, host: str, port: int, *, context: ssl.SSLContext, timeout: float
    ) -> None:
        at = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if at.scheme != "http" or not at.hostname:
            raise AddressRefused("HTTPS_PROXY must be http://host:port")
        super().__init__(at.hostname, at.port or 80, context=context, timeout=timeout)
        shown = {f"Proxy-{name}": value for name, value in credentials(at).items()}
        self._end = host, port, shown

    def connect(self) -> None:
        """Open it. ``set_tunnel`` encodes the name since Python 3.12, and refuses some."""
        self.set_tunnel(*self._end)
        super().connect()

    def _tunnel(self) -> None:
        """Ask the proxy for the way; ``connect`` calls this between TCP and TLS."""
        if self.deadline:
            self.watched = self.deadline.watch(self.sock)
        super()._tunnel()  # type: ignore[misc]  # private, and so without a type


def get(url: SplitResult, most_bytes: int, seconds: float) -> bytes:
    """The body of a small answer; no redirect is followed.

    Raises:
        AddressRefused: the host has an address that is not public.
        OSError, HTTPException: it did not come within ``seconds``, all of it.
        ValueError: the status is not 200, or the body is longer than ``most_bytes``.
    """
    timeout = Timeout(connect=seconds, read=seconds)
    with (
        Deadline(seconds) as deadline,
        closing(
            dial(url.hostname or "", url.port or HTTPS, tls_context(), timeout, deadline)
        ) as connection,
    ):
        connection.request("GET", target(url), headers=AGENT)
        answer = connection.getresponse()
        body = answer.read(most_bytes + 1)
        if deadline.is_over:  # a body without a length ends where its connection does
            raise TimeoutError("the answer takes too long")
    if answer.status != HTTPStatus.OK:
        raise ValueError(f"the answer is {answer.status}")
    if len(body) > most_bytes:
        raise ValueError("the answer is too long")
    return body


def target(url: SplitResult) -> str:
    """What is asked for of a URL's host: its path and its query."""
    path = url.path or "/"
    return f"{path}?{url.query}" if url.query else path


def credentials(url: SplitResult) -> dict[str, str]:
    """The header for the user and the password that a URL names, if it does."""
    if url.username is None:
        return {}
    pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def connect_public(host: str, port: int, timeout: float) -> socket.socket:
    """Dial the first address of a name that answers.

    Raises:
        AddressRefused: the name has an address that is not public.
        OSError: the name is unknown, or no address answers.
    """
    *others, last = map(str, _resolved(host, port))
    for address in others:
        with suppress(OSError):
            return socket.create_connection((address, port), timeout)
    return socket.create_connection((last, port), timeout)


def _resolved(host: str, port: int) -> list[IPv4Address | IPv6Address]:
    """All addresses of a name, IPv4 first: Lambda has no IPv6 outside of a VPC."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
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
    # Python counts the site-local addresses of RFC 3879 (fec0::/10) among the global ones
    is_site_local = isinstance(address, IPv6Address) and address.is_site_local
    return address.is_global and not address.is_multicast and not is_site_local


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if any(address in network for network in _WITH_IPV4):
        found = ip_address(address.packed[-4:])
        return found if not isinstance(found, IPv6Address) else None
    return address.ipv4_mapped or address.sixtofour
