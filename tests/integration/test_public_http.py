"""Addresses instead of names, as the system itself reads them."""

from __future__ import annotations

import pytest

from phonoscene.errors import AddressRefused
from phonoscene.net.public_https import Timeout, dial, tls_context


@pytest.mark.parametrize(
    "literal",
    ["127.0.0.1", "::1", "::ffff:127.0.0.1", "2130706433", "0x7f000001", "127.1", "localhost"],
)
def test_an_inner_address_is_refused_however_it_is_spelt(literal: str) -> None:
    with pytest.raises(AddressRefused):
        dial(literal, 443, tls_context(), Timeout(1, 1))


def test_what_no_name_can_be_is_a_failed_connection() -> None:
    with pytest.raises(OSError, match="not a valid host name"):
        dial(f"{'a' * 64}.fal.media", 443, tls_context(), Timeout(1, 1))
