"""Posts to the subscriber's URL: the only module that does. What it answers is its status alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import httpx

from phonoscene.errors import AddressRefused, SubscriberUnreachable
from phonoscene.public_http import public_client

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The standard gives a subscriber 15 to 30 seconds.
TIMEOUT: Final = httpx.Timeout(20, connect=5)


@dataclass(frozen=True)
class Answer:
    """An HTTP status, and the seconds after which the subscriber wants to be asked again."""

    status: int
    retry_after: int = 0

    @property
    def is_taken(self) -> bool:
        """Any 2xx, and nothing else: no redirect is followed."""
        return httpx.codes.is_success(self.status)

    @property
    def is_gone(self) -> bool:
        """The subscriber wants no more of it, for good."""
        return self.status == httpx.codes.GONE


class Subscriber:
    """One URL, which the operator has named: dialled at public addresses only."""

    def __init__(self, url: str) -> None:
        self._url = url

    @cached_property
    def _client(self) -> httpx.Client:
        return public_client(TIMEOUT)

    def post(self, headers: Mapping[str, str], body: str) -> Answer:
        """Post; the body of the answer is not read.

        Raises:
            SubscriberUnreachable: no answer in time, or the address may not be dialled.
        """
        try:
            with self._client.stream(
                "POST", self._url, headers=dict(headers), content=body.encode()
            ) as answer:
                return Answer(answer.status_code, _seconds(answer.headers.get("retry-after", "")))
        except (httpx.HTTPError, AddressRefused) as exc:
            raise SubscriberUnreachable(type(exc).__name__) from exc


def _seconds(text: str) -> int:
    """``Retry-After`` in its short form; a date is as good as nothing."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < len("1000000") else 0
