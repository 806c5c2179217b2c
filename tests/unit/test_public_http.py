"""Only public addresses are dialled, and only those that were checked, for any host name."""

from __future__ import annotations

import base64
import socket
import time
from dataclasses import dataclass, field
from io import BytesIO
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from phonoscene.errors import AddressRefused
from phonoscene.net import public_https
from phonoscene.net.public_https import Timeout, connect_public, dial, get, is_public, tls_context

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "v3.fal.media"
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946"]
PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",  # noqa: S104 - never bound, only refused
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",  # where a machine tells its credentials
    "169.254.170.2",
    "100.64.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fc00::1",
    "fec0::1",
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a00:1",
    "64:ff9b::a9fe:a9fe",
    "::127.0.0.1",
    "::ffff:0:a00:1",
    "2002:7f00:1::",
    "2002:c0a8:101::",
]


@dataclass
class Line:
    """A socket that is answered whatever was laid down before."""

    answer: bytes = b""
    sent: bytes = b""

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def makefile(self, _: str) -> BytesIO:
        return BytesIO(self.answer)

    def setsockopt(self, *_: int) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass
class Wire:
    """Writes down whom it was to dial; refuses some."""

    dialled: list[str] = field(default_factory=list)
    ports: set[int] = field(default_factory=set)
    refuses: set[str] = field(default_factory=set)
    line: Line = field(default_factory=Line)

    def connect(self, at: tuple[str, int], *_: Any) -> Line:
        self.dialled.append(at[0])
        self.ports.add(at[1])
        if at[0] in self.refuses:
            raise ConnectionRefusedError
        return self.line


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    made = Wire()
    monkeypatch.setattr(socket, "create_connection", made.connect)
    return made


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Set what each question about a name is answered, one after the other; the questions."""
    asked: list[str] = []

    def set_answers(*answers: list[str]) -> list[str]:
        left = list(answers)

        def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
            asked.append(host)
            addresses = left.pop(0)
            if not addresses:
                raise socket.gaierror(socket.EAI_NONAME, "unknown")
            return [(2, 1, 6, "", (address, port)) for address in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return set_answers


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_of_an_inner_network_is_not_however_it_is_written(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_leads_inside_is_not_dialled(
    dns: Callable[..., list[str]], wire: Wire, address: str
) -> None:
    dns([address])

    with pytest.raises(AddressRefused, match=HOST):
        connect_public(HOST, 443, 1)

    assert wire.dialled == []


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_inner_address_among_others_is_enough(
    dns: Callable[..., list[str]], wire: Wire, place: int
) -> None:
    answers = list(PUBLIC)
    answers[place] = "10.0.0.1"
    dns(answers)

    with pytest.raises(AddressRefused):
        connect_public(HOST, 443, 1)

    assert wire.dialled == []


def test_the_address_that_was_checked_is_dialled_whatever_dns_says_next(
    dns: Callable[..., list[str]], wire: Wire
) -> None:
    asked = dns(["93.184.216.34"], ["127.0.0.1"])

    connect_public(HOST, 443, 1)

    assert (wire.dialled, asked) == (["93.184.216.34"], [HOST])


def test_a_url_without_a_port_is_asked_at_that_of_https(
    monkeypatch: pytest.MonkeyPatch, dns: Callable[..., list[str]], wire: Wire
) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    dns(PUBLIC)
    wire.refuses.update(PUBLIC)

    with pytest.raises(ConnectionRefusedError):
        get(urlsplit(f"https://{HOST}/"), 1, 1)

    assert wire.ports == {443}


def test_a_connection_that_is_refused_is_tried_at_the_next_address(
    dns: Callable[..., list[str]], wire: Wire
) -> None:
    dns(PUBLIC)
    wire.refuses.add("8.8.8.8")

    connect_public(HOST, 443, 1)

    assert wire.dialled == ["8.8.8.8", "93.184.216.34"]


def test_a_name_whose_addresses_all_refuse_is_a_failed_connection(
    dns: Callable[..., list[str]], wire: Wire
) -> None:
    dns(PUBLIC)
    wire.refuses.update(PUBLIC)

    with pytest.raises(ConnectionRefusedError):
        connect_public(HOST, 443, 1)

    assert sorted(wire.dialled) == sorted(PUBLIC)


def test_a_name_that_no_one_knows_is_a_failed_connection(dns: Callable[..., list[str]]) -> None:
    dns([])

    with pytest.raises(OSError, match="unknown"):
        connect_public(HOST, 443, 1)


def test_what_no_name_can_be_is_a_failed_connection(
    monkeypatch: pytest.MonkeyPatch, wire: Wire
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")

    with pytest.raises(OSError, match="not a valid host name"):
        dial(f"{'a' * 64}.ünknown", 443, tls_context(), Timeout(1, 1))

    assert wire.line.sent == b""


def test_without_a_proxy_addresses_are_checked(
    monkeypatch: pytest.MonkeyPatch, dns: Callable[..., list[str]], wire: Wire
) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    dns(["169.254.169.254"])

    with pytest.raises(AddressRefused):
        dial("anything.fal.media", 443, tls_context(), Timeout(1, 1))

    assert wire.dialled == []


def test_with_a_proxy_nothing_goes_past_it(monkeypatch: pytest.MonkeyPatch, wire: Wire) -> None:
    """Not even what NO_PROXY names: no one would have checked it."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", HOST)
    wire.refuses.add("proxy.example")

    with pytest.raises(ConnectionRefusedError):
        dial(HOST, 443, tls_context(), Timeout(1, 1))

    assert wire.dialled == ["proxy.example"]


@pytest.mark.parametrize(
    "proxy", ["socks5://proxy.example:1080", "https://proxy.example", "http://"]
)
def test_a_proxy_that_cannot_be_used_is_not_gone_around(
    monkeypatch: pytest.MonkeyPatch, wire: Wire, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    with pytest.raises(AddressRefused, match="HTTPS_PROXY"):
        dial(HOST, 443, tls_context(), Timeout(1, 1))

    assert wire.dialled == []


def test_a_proxy_is_shown_the_password_of_its_own_address(
    monkeypatch: pytest.MonkeyPatch, wire: Wire
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "ann:p%40ss@proxy.example:3128")
    wire.line.answer = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"

    with pytest.raises(OSError, match="407"):
        dial(HOST, 443, tls_context(), Timeout(1, 1))

    head = wire.line.sent.decode()
    assert head.startswith(f"CONNECT {HOST}:443 ")
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'ann:p@ss').decode()}\r\n" in head


@dataclass
class Body:
    """The answer to one request; ``read`` makes what is read of it."""

    read: Callable[[int], bytes]
    status: int = 200

    def request(self, *_: Any, **__: Any) -> None:
        pass

    def getresponse(self) -> Body:
        return self

    def close(self) -> None:
        pass


def test_of_a_body_without_end_one_byte_too_many_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    body = Body(bytes)
    monkeypatch.setattr(public_https, "dial", lambda *_: body)

    with pytest.raises(ValueError, match="too long"):
        get(urlsplit(f"https://{HOST}/"), 7, 1)


def test_what_came_of_a_body_when_time_was_up_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(_: int) -> bytes:
        time.sleep(0.1)
        return b"{}"

    monkeypatch.setattr(public_https, "dial", lambda *_: Body(cut))

    with pytest.raises(TimeoutError, match="too long"):
        get(urlsplit(f"https://{HOST}/"), 7, 0.01)
