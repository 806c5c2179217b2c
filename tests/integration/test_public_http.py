"""Addresses instead of names, as the system itself reads them."""

from __future__ import annotations

import httpx
import pytest

from phonoscene.errors import AddressRefused
from phonoscene.public_http import PublicTransport


@pytest.mark.parametrize(
    "literal",
    ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f000001", "127.1", "localhost"],
)
def test_an_inner_address_is_refused_however_it_is_spelt(literal: str) -> None:
    transport = PublicTransport(httpx.create_ssl_context())

    with httpx.Client(transport=transport) as client, pytest.raises(AddressRefused):
        client.get(f"https://{literal}/")
