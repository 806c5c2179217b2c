"""Whoever names a host, we dial public addresses only, and the ones that were checked."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import httpcore
import httpx
import pytest

from phonoscene.errors import AddressRefused
from phonoscene.public_http import PublicNetwork, is_public, public_client

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "v3.fal.media"
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
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2002:c0a8:101::",
]


class Wire(httpcore.NetworkBackend):
    """Writes down whom it was to dial; refuses some."""

    def __init__(self, *refused: str) -> None:
        self.dialled: list[str] = []
        self._refused = refused

    def connect_tcp(self, host: str, *_: Any, **__: Any) -> httpcore.NetworkStream:
        self.dialled.append(host)
        if host in self._refused:
            raise httpcore.ConnectError("refused")
        return httpcore.MockStream([])


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
    dns: Callable[..., list[str]], address: str
) -> None:
    dns([address])
    wire = Wire()

    with pytest.raises(AddressRefused, match=HOST):
        PublicNetwork(wire).connect_tcp(HOST, 443)

    assert wire.dialled == []


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_inner_address_among_others_is_enough(
    dns: Callable[..., list[str]], place: int
) -> None:
    answers = list(PUBLIC)
    answers[place] = "10.0.0.1"
    dns(answers)
    wire = Wire()

    with pytest.raises(AddressRefused):
        PublicNetwork(wire).connect_tcp(HOST, 443)

    assert wire.dialled == []


def test_the_address_that_was_checked_is_dialled_whatever_dns_says_next(
    dns: Callable[..., list[str]],
) -> None:
    asked = dns(["93.184.216.34"], ["127.0.0.1"])
    wire = Wire()

    PublicNetwork(wire).connect_tcp(HOST, 443)

    assert (wire.dialled, asked) == (["93.184.216.34"], [HOST])


def test_a_connection_that_is_refused_is_tried_at_the_next_address(
    dns: Callable[..., list[str]],
) -> None:
    dns(PUBLIC)
    wire = Wire("8.8.8.8")

    PublicNetwork(wire).connect_tcp(HOST, 443)

    assert wire.dialled == ["8.8.8.8", "93.184.216.34"]


def test_a_name_that_nobody_knows_is_a_failed_connection(dns: Callable[..., list[str]]) -> None:
    dns([])

    with pytest.raises(httpcore.ConnectError):
        PublicNetwork(Wire()).connect_tcp(HOST, 443)


def test_without_a_proxy_the_client_dials_by_itself_and_checks(
    monkeypatch: pytest.MonkeyPatch, dns: Callable[..., list[str]]
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    dns(["169.254.169.254"])

    with public_client(httpx.Timeout(1)) as client, pytest.raises(AddressRefused):
        client.get("https://anything.fal.media/")


def test_with_a_proxy_nothing_goes_past_it(
    monkeypatch: pytest.MonkeyPatch, dns: Callable[..., list[str]]
) -> None:
    """Not even what NO_PROXY names: nobody would have checked it."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", HOST)
    asked = dns([])

    with public_client(httpx.Timeout(1)) as client, pytest.raises(httpx.ConnectError):
        client.get(f"https://{HOST}/")

    assert asked == ["proxy.example"]
