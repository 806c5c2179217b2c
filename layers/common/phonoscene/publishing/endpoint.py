"""Posts to the subscriber's URL: the only module that does. What it answers is its status alone."""

from __future__ import annotations

import string
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from phonoscene.errors import AddressRefused, SubscriberUnreachable
from phonoscene.net.deadlines import Deadline
from phonoscene.net.public_https import HTTPS, Timeout, credentials, dial, target, tls_context

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ssl import SSLContext

#: The standard gives a subscriber 15 to 30 seconds.
MAX_SECONDS: Final = 20.0
TIMEOUT: Final = Timeout(connect=5, read=MAX_SECONDS)


@dataclass(frozen=True)
class DeliveryResponse:
    """An HTTP status, and the seconds after which the subscriber wants to be asked again."""

    status: int
    retry_after: int

    @property
    def is_taken(self) -> bool:
        """Any 2xx, and nothing else: no redirect is followed."""
        return self.status in range(200, 300)

    @property
    def is_gone(self) -> bool:
        """The subscriber wants no more of it, for good."""
        return self.status == HTTPStatus.GONE


class Endpoint:
    """One URL, which the operator has named: dialled at public addresses only."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)

    @cached_property
    def _context(self) -> SSLContext:
        return tls_context()

    def post(self, headers: Mapping[str, str], body: str) -> DeliveryResponse:
        """Post; the body of the answer is not read.

        Raises:
            SubscriberUnreachable: no answer in time, or the address may not be dialled.
        """
        try:
            return self._post(dict(headers), body.encode())
        except (OSError, HTTPException, ValueError, AddressRefused) as exc:
            raise SubscriberUnreachable(type(exc).__name__) from exc

    def _post(self, headers: dict[str, str], body: bytes) -> DeliveryResponse:
        at = self._url
        with (
            Deadline(MAX_SECONDS) as deadline,
            closing(
                dial(at.hostname or "", at.port or HTTPS, self._context, TIMEOUT, deadline)
            ) as connection,
        ):
            shown = credentials(at) | headers
            connection.request("POST", quote(target(at), string.punctuation), body, shown)
            with closing(connection.getresponse()) as answer:
                return DeliveryResponse(
                    answer.status, _seconds(answer.headers.get("Retry-After", ""))
                )


def _seconds(text: str) -> int:
    """``Retry-After`` in its short form; a date is as good as nothing."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < len("1000000") else 0
